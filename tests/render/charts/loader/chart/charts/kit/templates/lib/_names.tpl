{{- define "kit.names.name" -}}
  {{- $globalNameOverride := get (default dict .Values.global) "nameOverride" -}}
  {{- default .Chart.Name (default .Values.nameOverride $globalNameOverride) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- define "kit.names.fullname" -}}
  {{- $name := include "kit.names.name" . -}}
  {{- $override := get (default dict .Values.global) "fullnameOverride" -}}
  {{- if or .Values.fullnameOverride $override -}}
    {{- $name = default .Values.fullnameOverride $override -}}
  {{- else if contains $name .Release.Name -}}
    {{- $name = .Release.Name -}}
  {{- else -}}
    {{- $name = printf "%s-%s" .Release.Name $name -}}
  {{- end -}}
  {{- trunc 63 $name | trimAll "-" -}}
{{- end -}}
{{- define "kit.metadata.allLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "kit.metadata.selectorLabels" . }}
  {{- if .Chart.AppVersion }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
  {{- end }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
  {{- range $k, $v := (.Values.global).labels }}
{{ $k }}: {{ tpl ($v | toString) $ | quote }}
  {{- end }}
{{- end -}}
{{- define "kit.metadata.selectorLabels" -}}
app.kubernetes.io/name: {{ include "kit.names.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}
{{/* Names in order of their keys; those that are switched off are left out. */}}
{{- define "kit.enabled" -}}
  {{- $enabled := dict -}}
  {{- range $identifier, $resource := .resources -}}
    {{- if kindIs "map" $resource -}}
      {{- if (hasKey $resource "enabled" | ternary $resource.enabled true) | toString | eq "true" -}}
        {{- $_ := set $enabled $identifier $resource -}}
      {{- end -}}
    {{- else if not (empty $resource) -}}
      {{- fail (printf "%s \"%s\" must be a map, is %s" $.kind $identifier (kindOf $resource)) -}}
    {{- end -}}
  {{- end -}}
  {{- $enabled | toYaml -}}
{{- end -}}
{{- define "kit.resource.name" -}}
  {{- $name := include "kit.names.fullname" .root -}}
  {{- if and .resource.nameOverride -}}
    {{- $name = printf "%s-%s" $name (tpl .resource.nameOverride .root) -}}
  {{- else if or (gt (len .all) 1) (not (eq .identifier "main")) -}}
    {{- $name = printf "%s-%s" $name .identifier -}}
  {{- end -}}
  {{- $name | lower -}}
{{- end -}}
