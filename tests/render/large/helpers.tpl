{{- define "large.name" -}}{{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}{{- end }}
{{- define "large.fullname" -}}
{{- if .Values.fullnameOverride }}{{ .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}{{ else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}{{ .Release.Name | trunc 63 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}{{ end }}
{{- end }}
{{- end }}
{{- define "large.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "large.selector" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ tpl (toYaml .) $ }}
{{- end }}
{{- end }}
{{- define "large.selector" -}}
app.kubernetes.io/name: {{ include "large.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
{{- define "large.tplrender" -}}
{{- $value := typeIs "string" .value | ternary .value (.value | toYaml) }}
{{- if contains "{{" (toJson .value) }}
{{- if .scope }}{{- tpl (cat "{{- with $.RelativeScope -}}" $value "{{- end }}") (merge (dict "RelativeScope" .scope) .context) }}{{- else }}{{- tpl $value .context }}{{- end }}
{{- else }}{{- $value }}{{- end }}
{{- end -}}
{{- define "large.pod" -}}
metadata:
  labels: {{- include "large.labels" .ctx | nindent 4 }}
  annotations:
    checksum/config: {{ include "large.config" . | sha256sum }}
spec:
  serviceAccountName: {{ include "large.fullname" .ctx }}-{{ .i }}
  containers:
  {{- range $c, $conf := .ctx.Values.containers }}
  - name: {{ $c }}
    image: {{ tpl $conf.image $.ctx | quote }}
    env:
    {{- range $k, $v := $conf.env }}
    - name: {{ $k | upper }}
      value: {{ include "large.tplrender" (dict "value" $v "context" $.ctx) | quote }}
    {{- end }}
    resources: {{- mergeOverwrite (deepCopy $.ctx.Values.resources) ($conf.resources | default dict) | toYaml | nindent 6 }}
    {{- with $conf.probes }}
    {{- tpl (toYaml .) $.ctx | nindent 4 }}
    {{- end }}
  {{- end }}
  affinity: {{- include "large.tplrender" (dict "value" .ctx.Values.affinity "context" .ctx) | nindent 4 }}
{{- end }}
{{- define "large.config" -}}
{{- range $k, $v := .ctx.Values.config }}
{{ $k }} = {{ tpl (toString $v) $.ctx }}
{{- end }}
{{- end }}
