{{/*
A value of YAML as a CEL literal, so that the injected container is the very one that is included elsewhere. The API
server wants the members of a literal alike, so each is hidden in dyn().
*/}}
{{- define "deputy.cel" -}}
{{- if kindIs "map" . -}}
{
{{- $comma := "" -}}
{{- range $key, $value := . }}{{ $comma }}{{ toJson $key }}: dyn({{ include "deputy.cel" $value }}){{ $comma = ", " }}{{ end -}}
}
{{- else if kindIs "slice" . -}}
[
{{- range $i, $value := . }}{{ if $i }}, {{ end }}dyn({{ include "deputy.cel" $value }}){{ end -}}
]
{{- else if kindIs "float64" . -}}
{{ printf "%.0f" . }}
{{- else -}}
{{ toJson . }}
{{- end -}}
{{- end -}}
