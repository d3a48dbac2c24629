{{/*
The container, once: the init container of a sidecar and the container of a Deployment. In a chart of one's own that has
this one as a dependency: `include "deputy.sidecar" .Subcharts.deputy` below `initContainers:` and
`include "deputy.volumes" .Subcharts.deputy` below `volumes:`.
*/}}
{{- define "deputy.container" -}}
name: deputy
image: {{ include "deputy.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args: [serve, --config, /etc/deputy/deputy.yaml]
env:
  - name: POD_UID
    valueFrom: { fieldRef: { apiVersion: v1, fieldPath: metadata.uid } }
  {{- range $name, $value := .Values.keys.kmsEnv }}
  - { name: {{ $name }}, value: {{ $value | quote }} }
  {{- end }}
ports:
  {{- include "deputy.ports" . | nindent 2 }}
startupProbe:
  httpGet: { path: /readyz, port: admin, scheme: HTTP }
  periodSeconds: 1
  timeoutSeconds: 1
  failureThreshold: {{ .Values.startupSeconds }}
readinessProbe:
  httpGet: { path: /readyz, port: admin, scheme: HTTP }
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 3
livenessProbe:
  httpGet: { path: /livez, port: admin, scheme: HTTP }
  periodSeconds: 10
  timeoutSeconds: 3
  failureThreshold: 3
resources: {{ .Values.resources | toJson }}
terminationMessagePolicy: FallbackToLogsOnError
securityContext: {{ merge (dict "runAsUser" (int .Values.securityContext.runAsUser) "runAsGroup" (int .Values.securityContext.runAsUser)) (include "deputy.restricted" . | fromYaml) | toJson }}
volumeMounts:
  {{- range include "deputy.mounts" . | fromYamlArray }}
  - {{ toJson . }}
  {{- end }}
{{- end -}}

{{- define "deputy.restricted" -}}
runAsNonRoot: true
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{- define "deputy.ports" -}}
- { name: admin, containerPort: 7411, protocol: TCP }
{{- if eq .Values.mode "gateway" }}
{{- if include "deputy.tls" . }}
- { name: agent-tls, containerPort: 7443, protocol: TCP }
{{- else }}
- { name: agent, containerPort: 7410, protocol: TCP }
{{- end }}
{{- end }}
{{- if include "deputy.pages" . }}
- { name: connect, containerPort: 7412, protocol: TCP }
{{- end }}
{{- if include "deputy.operators" . }}
- { name: operators, containerPort: 7413, protocol: TCP }
{{- end }}
{{- end -}}

{{/* Folders are mounted whole: a subPath would never see a change. */}}
{{- define "deputy.mounts" -}}
- { name: deputy-config, mountPath: /etc/deputy, readOnly: true }
{{- if .Values.tables }}
- { name: deputy-tables, mountPath: /etc/deputy-tables, readOnly: true }
{{- end }}
{{- if .Values.policy.existingConfigMap }}
- { name: deputy-policy, mountPath: /etc/deputy-policy, readOnly: true }
{{- end }}
{{- range $name, $_ := include "deputy.secrets" . | fromYaml }}
- { name: deputy-secret-{{ $name }}, mountPath: /run/secrets/deputy/{{ $name }}, readOnly: true }
{{- end }}
- { name: deputy-state, mountPath: /var/lib/deputy }
{{- end -}}

{{- define "deputy.volumes" -}}
{{- $name := include "deputy.name" . -}}
{{- /* In an agent's pod there is no group of deputy's; only deputy's container mounts them. */ -}}
{{- $mode := ternary 0444 0440 (eq .Values.mode "sidecar") -}}
- { name: deputy-config, configMap: { name: {{ $name }} } }
{{- if .Values.tables }}
- { name: deputy-tables, configMap: { name: {{ $name }}-tables } }
{{- end }}
{{- with .Values.policy.existingConfigMap }}
- { name: deputy-policy, configMap: { name: {{ . }} } }
{{- end }}
{{- range $each, $ref := include "deputy.secrets" . | fromYaml }}
{{- if $ref.secretProviderClass }}
- { name: deputy-secret-{{ $each }}, csi: { driver: secrets-store.csi.k8s.io, readOnly: true, volumeAttributes: { secretProviderClass: {{ $ref.secretProviderClass }} } } }
{{- else }}
- { name: deputy-secret-{{ $each }}, secret: { secretName: {{ $ref.existingSecret }}, defaultMode: {{ $mode }} } }
{{- end }}
{{- end }}
{{- if .Values.state.existingClaim }}
- { name: deputy-state, persistentVolumeClaim: { claimName: {{ .Values.state.existingClaim }} } }
{{- else if and (eq .Values.store.kind "sqlite") (ne .Values.mode "sidecar") }}
- { name: deputy-state, persistentVolumeClaim: { claimName: {{ $name }} } }
{{- else }}
- { name: deputy-state, emptyDir: { sizeLimit: {{ .Values.state.size }} } }
{{- end }}
{{- if and .Values.lockdown.enabled (eq .Values.mode "sidecar") }}
- { name: deputy-lockdown, configMap: { name: {{ $name }}-lockdown } }
{{- end }}
{{- if eq .Values.mode "sidecar" }}
{{ include "deputy.agent.volumes" . }}
{{- end }}
{{- end -}}

{{/* The init containers of an agent's pod, in their order. */}}
{{- define "deputy.sidecar" -}}
{{- if .Values.lockdown.enabled }}
- {{ include "deputy.lockdown" . | nindent 2 | trim }}
{{- end }}
- {{ include "deputy.container" . | nindent 2 | trim }}
  restartPolicy: Always
{{- end -}}

{{- define "deputy.lockdownCommand" -}}
[nft, --file, /etc/deputy-lockdown/lockdown.nft]
{{- end -}}
{{- define "deputy.lockdown" -}}
name: deputy-lockdown
image: {{ include "deputy.imageOf" (dict "image" .Values.lockdown.image "tag" "") }}
imagePullPolicy: {{ .Values.lockdown.image.pullPolicy }}
command: {{ include "deputy.lockdownCommand" . }}
resources: { requests: { cpu: 10m, memory: 16Mi }, limits: { memory: 64Mi } }
terminationMessagePolicy: FallbackToLogsOnError
securityContext: { runAsUser: 0, runAsNonRoot: false, allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: [ALL], add: [NET_ADMIN] }, seccompProfile: { type: RuntimeDefault } }
volumeMounts:
  - { name: deputy-lockdown, mountPath: /etc/deputy-lockdown, readOnly: true }
{{- end -}}

{{/* What the agent's own container gets: the token that says who it is, for the header Deputy-Agent. */}}
{{- define "deputy.agent.volumes" -}}
{{- if .Values.callers.enabled -}}
- { name: deputy-identity, projected: { sources: [ { serviceAccountToken: { audience: {{ .Values.callers.audience }}, expirationSeconds: {{ int .Values.callers.expirationSeconds }}, path: token } } ] } }
{{- end -}}
{{- end -}}
{{- define "deputy.agent.volumeMounts" -}}
{{- if .Values.callers.enabled -}}
- { name: deputy-identity, mountPath: /run/secrets/deputy-agent, readOnly: true }
{{- end -}}
{{- end -}}
