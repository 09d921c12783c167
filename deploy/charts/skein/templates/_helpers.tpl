{{/* The chart's name, or what the values say instead. */}}
{{- define "skein.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The name of every object: the release's, with the chart's unless that is part of it already. */}}
{{- define "skein.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains (include "skein.name" .) .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "skein.name" .) | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* Labels that select the pods; they never change. */}}
{{- define "skein.selectorLabels" -}}
app.kubernetes.io/name: {{ include "skein.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: {{ .Values.role }}
{{- end }}

{{/* Labels of every object. */}}
{{- define "skein.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "skein.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* The ServiceAccount the pods run as. */}}
{{- define "skein.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "skein.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* The program of the role. */}}
{{- define "skein.program" -}}
{{- get (dict "hub" "hub" "region" "regional-agent" "edge" "edge-agent") .Values.role }}
{{- end }}

{{/* The port at which those below dial in, of UDP and of TCP. */}}
{{- define "skein.linkPort" -}}
{{- get (dict "hub" "8443" "region" "8444") .Values.role }}
{{- end }}

{{/* The Secret that has the join token. */}}
{{- define "skein.tokenSecret" -}}
{{- .Values.token.secret | default (printf "%s-token" (include "skein.fullname" .)) }}
{{- end }}

{{/* What is set in the environment of every agent, and of this one. */}}
{{- define "skein.env" -}}
- name: SKEIN_STATE
  value: /var/lib/skein
- name: SKEIN_HTTP
  value: 0.0.0.0:8080
- name: SKEIN_LOG
  value: {{ .Values.log | quote }}
{{- if has .Values.role (list "hub" "region") }}
- name: SKEIN_LISTEN
  value: {{ printf "0.0.0.0:%s" (include "skein.linkPort" .) }}
- name: SKEIN_ADVERTISE
  value: {{ join "," .Values.advertise | quote }}
{{- end }}
{{- if eq .Values.role "hub" }}
- name: SKEIN_SYSTEM_NAMESPACE
  value: {{ .Release.Namespace }}
- name: SKEIN_POD
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: SKEIN_REPLICA
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
{{- if .Values.webhooks.enabled }}
- name: SKEIN_WEBHOOKS
  value: 0.0.0.0:9443
- name: SKEIN_WEBHOOKS_AT
  value: {{ printf "%s/%s-http" .Release.Namespace (include "skein.fullname" .) }}
- name: SKEIN_WEBHOOKS_FAILURE_POLICY
  value: {{ .Values.webhooks.failurePolicy }}
{{- end }}
{{- else }}
- name: SKEIN_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ include "skein.tokenSecret" . }}
      key: token
      # An agent that is enrolled needs it no more.
      optional: true
{{- end }}
{{- if eq .Values.role "edge" }}
- name: SKEIN_NAME
  value: {{ .Values.name | default .Release.Name | quote }}
- name: SKEIN_OTLP_GRPC
  value: 0.0.0.0:4317
- name: SKEIN_OTLP_HTTP
  value: 0.0.0.0:4318
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}
