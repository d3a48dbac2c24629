{{/* Everything's name ends with the mode, so that two modes never take each other's objects. */}}
{{- define "deputy.base" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- default (ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name)) .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- define "deputy.name" -}}
{{ printf "%s-%s" (include "deputy.base" .) .Values.mode }}
{{- end -}}
{{/* Of the cluster, not of a namespace. */}}
{{- define "deputy.clusterName" -}}
{{ printf "%s.%s" (include "deputy.name" .) .Release.Namespace }}
{{- end -}}
{{- define "deputy.selector" -}}
app.kubernetes.io/name: deputy
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: {{ .Values.mode }}
{{- end -}}
{{- define "deputy.labels" -}}
{{ include "deputy.selector" . }}
app.kubernetes.io/part-of: deputy
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}
{{/* An image by its digest where there is one. Called with the image's values and the tag to fall back to. */}}
{{- define "deputy.imageOf" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ .image.tag | default .tag }}
{{- end -}}
{{- end -}}
{{- define "deputy.image" -}}
{{ include "deputy.imageOf" (dict "image" .Values.image "tag" .Chart.AppVersion) }}
{{- end -}}
{{/* Where agents run: a sidecar's in the release's own namespace, whose ConfigMaps and Secrets they mount. */}}
{{- define "deputy.agentNamespaceList" -}}
{{- ternary (list .Release.Namespace) .Values.gateway.agentNamespaces (eq .Values.mode "sidecar") | toJson -}}
{{- end -}}
{{- define "deputy.agentNamespaces" -}}
matchExpressions: [ { key: kubernetes.io/metadata.name, operator: In, values: {{ include "deputy.agentNamespaceList" . }} } ]
{{- end -}}
{{/* The cluster's resolvers, one rule of egress. */}}
{{- define "deputy.dns" -}}
- to: {{ toJson .Values.networkPolicy.dns }}
  ports: [ { port: 53, protocol: UDP }, { port: 53, protocol: TCP } ]
{{- end -}}
