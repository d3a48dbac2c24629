{{/*
deputy.yaml: what the chart knows (listeners, folders, secrets by file), and over it what `config` says. The keys that
the chart sets cannot stand in `config`: values.schema.json refuses them.
*/}}
{{- define "deputy.config" -}}
{{- $v := .Values -}}
{{- $name := include "deputy.name" . -}}
{{- $sidecar := eq $v.mode "sidecar" -}}
{{- $listeners := dict "admin" (include "deputy.anywhere" (list . 7411)) -}}
{{- if $sidecar }}
{{- $listeners = merge $listeners (dict "agent" "127.0.0.1:7410" "connect" "off") -}}
{{- else if eq $v.mode "gateway" }}
{{- $listeners = merge $listeners (dict "agent" (ternary "127.0.0.1:7410" (include "deputy.anywhere" (list . 7410)) (ne (include "deputy.tls" .) ""))) -}}
{{- if include "deputy.tls" . }}
{{- $_ := set $listeners "agent_tls" (dict "listen" (include "deputy.anywhere" (list . 7443)) "cert" "/run/secrets/deputy/tls/tls.crt" "key" "/run/secrets/deputy/tls/tls.key") -}}
{{- end }}
{{- $_ := set $listeners "connect" (ternary (include "deputy.anywhere" (list . 7412)) "off" $v.gateway.connect) -}}
{{- else }}
{{- /* Nobody calls through the pages' deputy: a socket that only its own container can open. */ -}}
{{- $listeners = merge $listeners (dict "agent" "unix:agent.sock" "connect" (include "deputy.anywhere" (list . 7412))) -}}
{{- end }}
{{- if include "deputy.operators" . }}
{{- $_ := set $listeners "operators" (include "deputy.anywhere" (list . 7413)) -}}
{{- end }}
{{- $own := default dict $v.config.listeners -}}
{{- $names := default list $own.names -}}
{{- if not $sidecar }}
{{- $service := printf "%s.%s" $name .Release.Namespace -}}
{{- $names = concat (list $name $service (printf "%s.svc" $service) (printf "%s.svc.%s" $service $v.clusterDomain) (printf "%s-admin.%s.svc" $name .Release.Namespace)) $names -}}
{{- $_ := set $listeners "names" $names -}}
{{- end }}
{{- $base := dict
  "version" 1
  "state" "/var/lib/deputy"
  "policy" (dict "bundle" $v.policy.bundle)
  "vault" (dict "keys" (printf "/run/secrets/deputy/keys/%s" $v.keys.key) "store" (include "deputy.store" .))
  "audit" (dict "sink" (list "stdout"))
  "limits" (dict "drain" (printf "%ss" (include "deputy.drain" .)))
-}}
{{- if $v.policy.existingConfigMap }}
{{- $_ := set $base.policy "bundle" "/etc/deputy-policy/bundle.tar.gz" -}}
{{- end }}
{{- if $v.tables }}
{{- $_ := set $base.policy "data" "/etc/deputy-tables" -}}
{{- end }}
{{- $whole := mergeOverwrite $base (deepCopy $v.config) -}}
{{- $_ := set $whole "listeners" (merge $listeners (omit $own "names") (dict "names" $names)) -}}
{{- if $v.callers.enabled }}
{{- $_ := set $whole "workloads" (include "deputy.workloads" . | fromYamlArray) -}}
{{- end }}
{{- toYaml $whole -}}
{{- end -}}

{{/* Seconds for calls to end: of a Deployment's pod, what is left of its grace; a sidecar's agent is gone by then. */}}
{{- define "deputy.drain" -}}
{{- if eq .Values.mode "sidecar" }}5{{ else }}{{ sub (int .Values.terminationGracePeriodSeconds) (add (int .Values.drainDelaySeconds) 5) }}{{ end -}}
{{- end -}}

{{- define "deputy.anywhere" -}}
{{- $port := index . 1 -}}
{{- with index . 0 }}{{ ternary (printf "[::]:%v" $port) (printf "0.0.0.0:%v" $port) .Values.ipv6 }}{{ end -}}
{{- end -}}

{{- define "deputy.tls" -}}
{{- if and (eq .Values.mode "gateway") (or .Values.gateway.tls.existingSecret .Values.gateway.tls.secretProviderClass) }}true{{ end -}}
{{- end -}}
{{- define "deputy.operators" -}}
{{- if or .Values.config.operators .Values.config.operators_sign_in }}true{{ end -}}
{{- end -}}
{{- define "deputy.store" -}}
{{- if eq .Values.store.kind "postgres" -}}
${file:/run/secrets/deputy/store/{{ .Values.store.key }}}
{{- else -}}
sqlite:deputy.db
{{- end -}}
{{- end -}}
{{/* Does this release serve people's pages? */}}
{{- define "deputy.pages" -}}
{{- if or (eq .Values.mode "pages") (and (eq .Values.mode "gateway") .Values.gateway.connect) }}true{{ end -}}
{{- end -}}

{{/* Secrets by the name of their folder below /run/secrets/deputy: a map of references. */}}
{{- define "deputy.secrets" -}}
{{- $all := merge (dict "keys" .Values.keys) .Values.secrets -}}
{{- if eq .Values.store.kind "postgres" }}{{ $_ := set $all "store" .Values.store }}{{ end -}}
{{- if include "deputy.tls" . }}{{ $_ := set $all "tls" .Values.gateway.tls }}{{ end -}}
{{- range $name, $ref := $all }}
{{ $name }}: {{ pick $ref "existingSecret" "secretProviderClass" | toJson }}
{{- end }}
{{- end -}}

{{/* Which agent calls, by the token that the kubelet made for its pod. A sidecar believes its own pod's alone. */}}
{{- define "deputy.workloads" -}}
{{- $c := .Values.callers -}}
{{- $sidecar := eq .Values.mode "sidecar" -}}
{{- $usual := list -}}
{{- range include "deputy.agentNamespaceList" . | fromJsonArray }}
{{- $usual = append $usual (dict "name" . "match" (dict "/kubernetes.io/namespace" .) "agent" "/sub") -}}
{{- end -}}
{{- range default $usual $c.workloads }}
- name: {{ .name }}
  issuer: {{ $c.issuer | quote }}
  {{- if $c.jwks }}
  jwks: ./cluster-jwks.json
  {{- else if $c.jwksUri }}
  jwks_uri: {{ $c.jwksUri | quote }}
  {{- end }}
  audience: {{ $c.audience }}
  {{- if gt (int $c.expirationSeconds) 600 }}
  max_age: {{ int $c.expirationSeconds }}s
  {{- end }}
  match: {{ merge dict .match (ternary (dict "/kubernetes.io/pod/uid" "${env:POD_UID}") dict $sidecar) | toJson }}
  agent: {{ .agent | quote }}
{{- end }}
{{- end -}}

{{/* Refuses what is secret and stands in the values as it is, for a ConfigMap would show it. Called with a path and what is there. */}}
{{- define "deputy.literals" -}}
{{- $at := index . 0 -}}
{{- $value := index . 1 -}}
{{- if kindIs "map" $value -}}
{{- range $key, $each := $value -}}
{{- $path := printf "%s.%s" $at $key -}}
{{- $secret := or (has $key (list "client_secret" "client_key" "bearer" "password")) (and (eq $key "key") (or (hasPrefix "config.connect." $path) (hasPrefix "config.hooks" $path))) (hasPrefix "config.telemetry.headers." $path) (and (eq $path "config.upstream.proxy") (contains "@" (toString $each))) -}}
{{- if and $secret (kindIs "string" $each) (not (regexMatch (ternary "[$][{]file:[^}]+[}]" "^[$][{]file:[^}]+[}]$" (or (eq $path "config.upstream.proxy") (hasPrefix "config.telemetry.headers." $path))) $each)) -}}
{{- fail (printf "%s: is a secret, and a ConfigMap would show it: mount its Secret by `secrets` and write ${file:/run/secrets/deputy/NAME/KEY}" $path) -}}
{{- end -}}
{{- include "deputy.literals" (list $path $each) -}}
{{- end -}}
{{- else if kindIs "slice" $value -}}
{{- range $value }}{{ include "deputy.literals" (list (printf "%s[]" $at) .) }}{{ end -}}
{{- end -}}
{{- end -}}
