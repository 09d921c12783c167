{{- define "overridden" }}db{{ end }}
