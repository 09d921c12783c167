{{- define "common.deployment.tpl" -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "common.name" . }}
  labels:
    {{- include "common.labels" . | nindent 4 }}
  annotations:
    checksum: {{ toYaml .Values | sha256sum }}
spec:
  replicas: {{ .Values.replicas }}
  paused: {{ gt (int .Values.replicas) 5 }}
  template:
    spec:
      containers:
        - name: main
          image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
          env:
            {{- range $name, $value := .Values.env }}
            - name: {{ $name }}
              value: {{ $value | quote }}
            {{- end }}
        {{- tpl (toYaml .Values.sidecars) . | nindent 8 }}
{{- end -}}
{{- define "common.deployment" -}}
{{- include "common.merge" (append . "common.deployment.tpl") -}}
{{- end -}}
