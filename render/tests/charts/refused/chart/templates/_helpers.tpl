{{- define "refused.check" -}}
{{- if eq .Values.mode "fail" }}{{ fail (printf "mode %s is not allowed" .Values.mode) }}{{ end -}}
{{- if eq .Values.mode "nil" }}{{ .Values.a.b.c }}{{ end -}}
{{- if eq .Values.mode "compare" }}{{ if gt .Values.port 5 }}x{{ end }}{{ end -}}
{{- if eq .Values.mode "missing" }}{{ include "no.such.template" . }}{{ end -}}
{{- if eq .Values.mode "recursion" }}{{ include "refused.check" . }}{{ end -}}
{{- end -}}
