{{/*
The rules for agents' pods, each `expression` with the `message` of who breaks it. A misspelt optional field is silently
absent in CEL, so each expression has a test of a pod that it alone refuses.
*/}}

{{/* About each container that is not deputy's own, in `variables.others`. */}}
{{- define "deputy.rules.containers" -}}
{{- $uid := int .Values.securityContext.runAsUser -}}
- expression: >-
    variables.others.all(c, c.?securityContext.?runAsUser.orValue(object.spec.?securityContext.?runAsUser.orValue(-1)) != -1)
  message: "each container of an agent's pod must say its uid, because an image may bring deputy's or root: set securityContext.runAsUser"
- expression: >-
    variables.others.all(c, c.?securityContext.?runAsUser.orValue(object.spec.?securityContext.?runAsUser.orValue(-1)) != 0)
  message: "no container of an agent's pod may run as root, which can become deputy's uid: choose another runAsUser"
- expression: >-
    variables.others.all(c, c.?securityContext.?runAsUser.orValue(object.spec.?securityContext.?runAsUser.orValue(-1)) != {{ $uid }})
  message: "uid {{ $uid }} is deputy's own: choose another runAsUser for the agent's containers"
- expression: >-
    variables.others.all(c, c.?securityContext.?allowPrivilegeEscalation.orValue(true) == false)
  message: "a container of an agent's pod is privileged or could become it: set securityContext.allowPrivilegeEscalation: false"
- expression: >-
    variables.others.all(c, size(c.?securityContext.?capabilities.?add.orValue([])) == 0)
  message: "added capabilities are a way round deputy: remove securityContext.capabilities.add"
- expression: >-
    variables.others.all(c, 'ALL' in c.?securityContext.?capabilities.?drop.orValue([]))
  message: "each container of an agent's pod must give up its capabilities: set securityContext.capabilities.drop: [ALL]"
{{- end -}}

{{/* Deputy's volumes in another container. */}}
{{- define "deputy.rules.mounts" -}}
- expression: >-
    variables.others.all(c, c.?volumeMounts.orValue([]).all(m, !m.name.startsWith('deputy-') || m.name == 'deputy-identity'))
  message: "volumes whose names begin with deputy- hold deputy's secrets and state: only deputy may mount them"
{{- end -}}

{{/* Deputy's Secrets in the environment of another container. */}}
{{- define "deputy.rules.env" -}}
- expression: >-
    variables.others.all(c, c.?env.orValue([]).all(e, !(e.?valueFrom.?secretKeyRef.?name.orValue('') in variables.secrets)))
  message: "a Secret of deputy's is read into env of another container: remove valueFrom.secretKeyRef"
- expression: >-
    variables.others.all(c, c.?envFrom.orValue([]).all(e, !(e.?secretRef.?name.orValue('') in variables.secrets)))
  message: "a Secret of deputy's is read into the environment of another container: remove envFrom.secretRef"
{{- end -}}

{{/* About the pod around them. */}}
{{- define "deputy.rules.pod" -}}
- expression: "object.spec.?hostNetwork.orValue(false) == false"
  message: "a pod on the node's network is no agent's: its rules and policies do not hold there; remove hostNetwork"
- expression: "object.spec.?hostPID.orValue(false) == false"
  message: "a pod that sees the node's processes can read deputy's: remove hostPID"
- expression: "object.spec.?hostIPC.orValue(false) == false"
  message: "a pod that shares the node's memory segments is no agent's: remove hostIPC"
- expression: "object.spec.?shareProcessNamespace.orValue(false) == false"
  message: "with a shared process namespace the agent could signal deputy and read its memory: remove shareProcessNamespace"
- expression: "object.spec.?volumes.orValue([]).all(v, !has(v.hostPath))"
  message: "a folder of the node can hold the secrets of every pod on it: remove the hostPath volume"
{{- end -}}

{{/* Deputy's Secrets, claims and classes under another name of volume. */}}
{{- define "deputy.rules.volumes" -}}
- expression: >-
    variables.volumes.all(v, !(v.?secret.?secretName.orValue('') in variables.secrets))
  message: "a Secret of deputy's is a volume under another name: only the volumes that the chart makes may hold it"
- expression: >-
    variables.volumes.all(v, v.?projected.?sources.orValue([]).all(s, !(s.?secret.?name.orValue('') in variables.secrets)))
  message: "a Secret of deputy's is a source of a projected volume: only the volumes that the chart makes may hold it"
- expression: >-
    variables.volumes.all(v, !(v.?csi.?volumeAttributes.?secretProviderClass.orValue('') in variables.classes))
  message: "a SecretProviderClass of deputy's is a volume under another name: only the volumes that the chart makes may use it"
- expression: >-
    variables.volumes.all(v, !(v.?persistentVolumeClaim.?claimName.orValue('') in variables.claims))
  message: "deputy's claim is a volume under another name: only the volume that the chart makes may use it"
{{- end -}}

{{/* The sidecar itself: there, first, and nothing but what the chart makes. */}}
{{- define "deputy.rules.sidecar" -}}
{{- $container := include "deputy.container" . | fromYaml -}}
{{- $uid := int .Values.securityContext.runAsUser -}}
{{- $first := ternary 1 0 .Values.lockdown.enabled -}}
- expression: "size(variables.sidecar) == 1"
  message: "an agent's pod needs the init container deputy: label it deputy/inject: \"true\" where the chart injects, or include deputy.sidecar"
- expression: >-
    size(variables.sidecar) == 0 || object.spec.initContainers.map(c, c.name).indexOf('deputy') == {{ $first }}
  message: "deputy must start before everything else in the pod: make it {{ ternary "the init container behind deputy-lockdown" "the first init container" .Values.lockdown.enabled }}"
- expression: "variables.sidecar.all(c, c.?restartPolicy.orValue('') == 'Always')"
  message: "deputy must run as long as the agent: its init container needs restartPolicy: Always"
- expression: "variables.sidecar.all(c, c.image == {{ $container.image | squote }})"
  message: "the image of the init container deputy must be {{ $container.image }}"
- expression: "variables.sidecar.all(c, !has(c.command))"
  message: "a command in place of deputy's own runs with its secrets: remove the command of the init container deputy"
- expression: "variables.sidecar.all(c, c.?args.orValue([]) == {{ $container.args | toJson | replace "\"" "'" }})"
  message: "the init container deputy must serve the chart's configuration: leave its args"
- expression: "variables.sidecar.all(c, !has(c.envFrom))"
  message: "the environment of deputy is the chart's: remove envFrom"
- expression: >-
    variables.sidecar.all(c, c.?env.orValue([]).all(e, e.name + ' ' + e.?valueFrom.?fieldRef.?fieldPath.orValue('') == 'POD_UID metadata.uid'
    {{- range $name, $value := .Values.keys.kmsEnv }} || e.name == '{{ $name }}' && !has(e.valueFrom) && e.?value.orValue('') == {{ $value | toJson }}
    {{- end }}))
  message: "the environment of deputy is the chart's: leave its env"
- expression: "variables.sidecar.all(c, !has(c.lifecycle))"
  message: "a hook of lifecycle runs in deputy's container: remove it"
- expression: >-
    variables.sidecar.all(c, [c.?startupProbe, c.?readinessProbe, c.?livenessProbe].all(p, !p.?exec.hasValue()))
  message: "a probe that runs a command runs it in deputy's container: probe by httpGet"
- expression: >-
    variables.sidecar.all(c, c.?volumeMounts.orValue([]).all(m, m.name + ' ' + m.mountPath + ' ' + m.?subPath.orValue('') in {{ include "deputy.mountNames" . }}
    || m.name.startsWith('kube-api-access-') && m.mountPath == '/var/run/secrets/kubernetes.io/serviceaccount'))
  message: "deputy mounts its own volumes and no other: remove what was added to its volumeMounts"
- expression: >-
    variables.sidecar.all(c, c.?securityContext.?runAsUser.orValue(-1) == {{ $uid }})
  message: "the init container deputy must run as uid {{ $uid }}"
- expression: >-
    variables.sidecar.all(c, c.?securityContext.?allowPrivilegeEscalation.orValue(true) == false)
  message: "the init container deputy must be unable to gain privileges: leave its allowPrivilegeEscalation: false"
- expression: >-
    variables.sidecar.all(c, size(c.?securityContext.?capabilities.?add.orValue([])) == 0)
  message: "the init container deputy runs without capabilities: remove capabilities.add"
- expression: >-
    object.spec.?volumes.orValue([]).filter(v, v.name.startsWith('deputy-')).all(v, v.name
    + ' ' + v.?configMap.?name.orValue('') + ' ' + v.?secret.?secretName.orValue('')
    + ' ' + v.?csi.?volumeAttributes.?secretProviderClass.orValue('') + ' ' + v.?persistentVolumeClaim.?claimName.orValue('')
    + (has(v.emptyDir) ? ' emptyDir' : '') + (has(v.projected) ? ' projected' : '')
    + (v.?configMap.?items.hasValue() || v.?secret.?items.hasValue() ? ' items' : '') in {{ include "deputy.volumeSources" . }})
  message: "volumes whose names begin with deputy- are the chart's: leave them as they are, and give others another name"
{{- end -}}
{{- define "deputy.mountNames" -}}
{{- $all := list -}}
{{- range include "deputy.mounts" . | fromYamlArray }}{{ $all = append $all (printf "%s %s " .name .mountPath) }}{{ end -}}
{{ $all | toJson | replace "\"" "'" }}
{{- end -}}
{{/* Name and source of each volume of deputy's, as the rule above spells them. */}}
{{- define "deputy.volumeSources" -}}
{{- $all := list -}}
{{- range include "deputy.volumes" . | fromYamlArray }}
{{- $of := dict "configMap" dict "secret" dict "csi" (dict "volumeAttributes" dict) "persistentVolumeClaim" dict | mergeOverwrite . -}}
{{- $all = append $all (printf "%s %s %s %s %s%s%s" .name (default "" $of.configMap.name) (default "" $of.secret.secretName) (default "" $of.csi.volumeAttributes.secretProviderClass) (default "" $of.persistentVolumeClaim.claimName) (ternary " emptyDir" "" (hasKey . "emptyDir")) (ternary " projected" "" (hasKey . "projected"))) -}}
{{- end -}}
{{ $all | toJson | replace "\"" "'" }}
{{- end -}}

{{/* About a pod that runs: its label, deputy's images, and containers that are put beside it. */}}
{{- define "deputy.rules.running" -}}
{{- $images := list (include "deputy.image" .) -}}
{{- if .Values.lockdown.enabled }}{{ $images = append $images (include "deputy.lockdown" . | fromYaml).image }}{{ end -}}
- expression: >-
    (oldObject.metadata.?labels[?'deputy/inject'].orValue('') == 'true') == (object.metadata.?labels[?'deputy/inject'].orValue('') == 'true')
    {{- if eq .Values.admission.pods "all" }} || object.metadata.?labels[?'deputy/inject'].orValue('') == 'true'{{ end }}
  message: "an agent's pod stays one, and no other becomes one while it runs: leave the label deputy/inject"
{{- if eq .Values.mode "sidecar" }}
- expression: >-
    object.spec.?initContainers.orValue([]).filter(c, c.name in {{ include "deputy.ownContainers" . }}).all(c, c.image in {{ $images | toJson | replace "\"" "'" }} || oldObject.spec.initContainers.exists(o, o.name == c.name && o.image == c.image))
  message: "the image of a running deputy may change to the chart's and to no other"
- expression: >-
    variables.others.all(c, !(c.?targetContainerName.orValue('') in {{ include "deputy.ownContainers" . }}))
  message: "a container that targets deputy shares its processes and can read its memory: debug another container"
{{- end }}
{{- end -}}
{{/* About a command or a terminal in a container that runs: deputy's image has no shell, but Node reads files as well. */}}
{{- define "deputy.rules.exec" -}}
- expression: "!(object.?container.orValue('') in {{ include "deputy.ownContainers" . }})"
  message: "a command in deputy's container can read its secrets: look at its log and its probes instead"
{{- end -}}
{{- define "deputy.ownContainers" -}}
{{- if ne .Values.mode "sidecar" }}[]{{ else if .Values.lockdown.enabled }}['deputy', 'deputy-lockdown']{{ else }}['deputy']{{ end -}}
{{- end -}}

{{/* The step that loads the rules of the kernel. */}}
{{- define "deputy.rules.lockdown" -}}
{{- $container := include "deputy.lockdown" . | fromYaml -}}
- expression: "object.spec.?initContainers.orValue([]).map(c, c.name).indexOf('deputy-lockdown') == 0"
  message: "the rules of the lockdown must hold before anything runs: make deputy-lockdown the first init container"
- expression: "variables.lockdown.all(c, c.image == {{ $container.image | squote }})"
  message: "the image of the init container deputy-lockdown must be {{ $container.image }}"
- expression: "variables.lockdown.all(c, c.?command.orValue([]) == {{ $container.command | toJson | replace "\"" "'" }})"
  message: "the init container deputy-lockdown must load the chart's rules: leave its command"
- expression: "variables.lockdown.all(c, !has(c.args))"
  message: "the init container deputy-lockdown loads the chart's rules and no others: remove its args"
- expression: "variables.lockdown.all(c, !has(c.env) && !has(c.envFrom))"
  message: "the init container deputy-lockdown has no environment: remove env and envFrom"
- expression: "variables.lockdown.all(c, c.?restartPolicy.orValue('') != 'Always')"
  message: "the init container deputy-lockdown loads rules and ends: remove its restartPolicy"
- expression: "variables.lockdown.all(c, c.?volumeMounts.orValue([]).all(m, m.name + ' ' + m.mountPath + ' ' + m.?subPath.orValue('') == 'deputy-lockdown /etc/deputy-lockdown ' || m.name.startsWith('kube-api-access-') && m.mountPath == '/var/run/secrets/kubernetes.io/serviceaccount'))"
  message: "the init container deputy-lockdown mounts its rules and nothing else"
- expression: "variables.lockdown.all(c, c.?securityContext.?allowPrivilegeEscalation.orValue(true) == false)"
  message: "the init container deputy-lockdown must be unable to gain privileges: leave its allowPrivilegeEscalation: false"
- expression: "variables.lockdown.all(c, c.?securityContext.?capabilities.?add.orValue([]) == ['NET_ADMIN'])"
  message: "the init container deputy-lockdown has NET_ADMIN and no other capability"
{{- end -}}
