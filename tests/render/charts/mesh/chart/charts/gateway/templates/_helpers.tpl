{{- define "gateway.name" -}}
{{- if eq .Release.Name "RELEASE-NAME" -}}
  {{- .Values.name | default "gateway" -}}
{{- else -}}
  {{- .Values.name | default (printf "%s-%s" .Release.Name .Chart.Name) | default "gateway" -}}
{{- end -}}
{{- end }}
{{- define "gateway.labels" -}}
{{- range $key, $val := .Values.labels }}
{{- if and (ne $key "app") (ne $key "istio") }}
{{ $key | quote }}: {{ $val | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- define "gateway.selectorLabels" -}}
app: {{ (.Values.labels.app | quote) | default (include "gateway.name" .) }}
istio: {{ (.Values.labels.istio | quote) | default (include "gateway.name" . | trimPrefix "istio-") }}
{{- end }}
{{- define "gateway.sidecarInjectionLabels" -}}
sidecar.example.org/inject: "true"
{{- with .Values.revision }}
mesh.example.org/rev: {{ . | quote }}
{{- end }}
{{- end }}
