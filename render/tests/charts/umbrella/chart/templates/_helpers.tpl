{{- define "shared.labels" -}}
from: umbrella
release: {{ .Release.Name }}
chart: {{ .Chart.Name }}
{{- end }}
{{- define "overridden" }}umbrella wins{{ end }}
