{{- define "overridden" }}web{{ end }}
