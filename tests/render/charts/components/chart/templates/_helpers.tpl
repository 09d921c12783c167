{{/* Names */}}
{{- define "components.fullname" -}}
{{- printf "%s-%s" .Release.Name (default .Chart.Name .Values.nameOverride) | trunc 20 | trimSuffix "-" -}}
{{- end }}
{{- define "components.labels" }}
app.kubernetes.io/name: {{ include "components.fullname" .root | quote }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .component }}
component: {{ . }}
{{- end }}
{{- end }}
{{- define "components.image" -}}
{{- $tag := coalesce (dig "image" "tag" "" .values) .root.Values.image.tag .root.Chart.AppVersion -}}
{{ .root.Values.image.repository }}:{{ $tag }}
{{- end }}
{{- define "components.render" -}}
{{- if typeIs "string" .value }}{{ tpl .value .context }}{{ else }}{{ tpl (.value | toYaml) .context }}{{ end }}
{{- end }}
