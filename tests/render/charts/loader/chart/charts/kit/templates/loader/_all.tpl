{{/* Renders everything; charts on this library hold nothing but this call. */}}
{{- define "kit.loader.all" -}}
  {{- include "kit.loader.init" . -}}
  {{- include "kit.loader.generate" . -}}
{{- end -}}
{{- define "kit.loader.init" -}}
  {{- include "kit.values.init" . }}
{{- end -}}
{{- define "kit.values.init" -}}
  {{- if .Values.kit -}}
    {{- $defaultValues := deepCopy .Values.kit -}}
    {{- $userValues := deepCopy (omit .Values "kit") -}}
    {{- $mergedValues := mustMergeOverwrite $defaultValues $userValues -}}
    {{- $_ := set . "Values" (deepCopy $mergedValues) -}}
  {{- end -}}
{{- end -}}
{{- define "kit.loader.generate" -}}
  {{- $rootContext := $ -}}
  {{- range $kind := list "serviceAccount" "controllers" "service" "ingress" "configMaps" "secrets" "persistence" "rawResources" -}}
    {{- include (printf "kit.render.%s" $kind) $rootContext -}}
  {{- end -}}
{{- end -}}
