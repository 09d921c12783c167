#!/bin/sh
{{- $x := .Values.replicas }}
{{ range $i := until (int $x) }}echo {{ $i }}
{{ end }}
{{/* gone */}}cat <<EOF
{{ .Values.server.list | toYaml }}
EOF
