{{- define "overridden" }}undeclared{{ end }}
