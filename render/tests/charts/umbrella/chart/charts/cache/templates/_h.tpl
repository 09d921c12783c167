{{- define "overridden" }}cache{{ end }}
