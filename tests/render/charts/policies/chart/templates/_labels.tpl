{{/* vim: set filetype=mustache: */}}
{{- define "policies.labels.merge" -}}
{{- $labels := dict -}}
{{- range . -}}
  {{- $labels = merge $labels (fromYaml .) -}}
{{- end -}}
{{- with $labels -}}
  {{- toYaml $labels -}}
{{- end -}}
{{- end -}}
{{- define "policies.labels.helm" -}}
{{- if not .Values.templating -}}
helm.sh/chart: {{ template "policies.chart" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}
{{- end -}}
{{- define "policies.labels.version" -}}
app.kubernetes.io/version: {{ template "policies.chartVersion" . }}
{{- end -}}
{{- define "policies.labels.common" -}}
{{- template "policies.labels.merge" (list
  (include "policies.labels.helm" .)
  (include "policies.labels.version" .)
  (tpl (toYaml .Values.customLabels) .)
) -}}
{{- end -}}
{{- define "policies.labels.component" -}}
app.kubernetes.io/component: {{ . }}
{{- end -}}
{{- define "policies.matchLabels.common" -}}
app.kubernetes.io/part-of: {{ template "policies.fullname" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}
{{- define "policies.admission.labels" -}}
{{- template "policies.labels.merge" (list
  (include "policies.labels.common" .)
  (include "policies.admission.matchLabels" .)
) -}}
{{- end -}}
{{- define "policies.admission.matchLabels" -}}
{{- template "policies.labels.merge" (list
  (include "policies.matchLabels.common" .)
  (include "policies.labels.component" "admission-controller")
) -}}
{{- end -}}
{{- define "policies.chart" -}}{{- printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" -}}{{- end -}}
{{- define "policies.chartVersion" -}}
{{- if .Values.templating -}}{{- required "templating.version is required when templating.enabled is true" .Values.templating.version | replace "+" "_" -}}
{{- else -}}{{- .Chart.Version | replace "+" "_" -}}{{- end -}}
{{- end -}}
{{- define "policies.name" -}}{{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}{{- end -}}
{{- define "policies.fullname" -}}
{{- if .Values.fullnameOverride -}}{{ .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else -}}
  {{- $name := default .Chart.Name .Values.nameOverride -}}
  {{- if contains $name .Release.Name -}}{{ .Release.Name | trunc 63 | trimSuffix "-" }}{{- else -}}{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- define "policies.namespace" -}}{{ default .Release.Namespace .Values.namespaceOverride }}{{- end -}}
{{- define "policies.admission.name" -}}{{ template "policies.name" . }}-admission-controller{{- end -}}
