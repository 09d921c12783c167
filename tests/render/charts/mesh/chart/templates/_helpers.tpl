{{- define "mesh.suffix" -}}{{ if not (eq .Values.revision "") }}-{{ .Values.revision }}{{ end }}{{- end -}}
{{- define "mesh.labels" -}}
app.kubernetes.io/name: {{ printf "%s%s" .Chart.Name (include "mesh.suffix" .) | trunc 63 | trimSuffix "-" | quote }}
{{- if .Chart.AppVersion }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end -}}
{{- /* A wasm or native filter, as text. */ -}}
{{- define "mesh.url" }}
{{- if .Values.global.externalIstiod -}}
  {{- if .Values.injectionURL }}
  url: "{{ .Values.injectionURL }}"
  {{- else }}
  url: https://{{ .Values.global.remotePilotAddress | required "remotePilotAddress must be set" }}:15017/inject{{ include "mesh.suffix" . }}
  {{- end }}
{{- else }}
  service:
    name: mesh{{ include "mesh.suffix" . }}
    namespace: {{ .Release.Namespace }}
    path: "/inject/{{ .Values.path | default "cluster" }}"
    port: 443
{{- end }}
{{- end }}
{{ define "core" }}
{{- /* Kubernetes compares names; the webhook has one per selector. */}}
- name: {{.Prefix}}sidecar-injector.example.org
  clientConfig:
    {{- include "mesh.url" .ctx | trim | nindent 4 }}
  sideEffects: None
  rules:
  - {operations: [ "CREATE" ], apiGroups: [""], apiVersions: ["v1"], resources: ["pods"]}
  failurePolicy: Fail
  reinvocationPolicy: "{{ .ctx.Values.sidecarInjectorWebhook.reinvocationPolicy }}"
  admissionReviewVersions: ["v1"]
{{- end }}
