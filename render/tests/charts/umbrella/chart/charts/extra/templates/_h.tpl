{{- define "overridden" }}extra{{ end }}
