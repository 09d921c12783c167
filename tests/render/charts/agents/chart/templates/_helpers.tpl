{{/* vim: set filetype=mustache: */}}
{{- define "check-version" -}}
{{- if not .Values.agents.image.doNotCheckTag -}}
{{- $version := .Values.agents.image.tag | toString | trimSuffix "-jmx" -}}
{{- $length := len (split "." $version) -}}
{{- if and (eq $length 1) (or (eq $version "6") (eq $version "latest-6")) -}}
{{- fail "This version of the chart does not support agents of major 6" -}}
{{- end -}}
{{- if and (eq $length 1) (or (eq $version "7") (eq $version "latest") (eq $version "latest-7")) -}}
{{- $version = "7.60.1" -}}
{{- end -}}
{{- if not (semverCompare "^6.36.0-0 || ^7.36.0-0" $version) -}}
{{- fail (printf "This version of the chart requires an agent image 7.36.0 or greater, not %s. If you want to use an older one, see the README." $version) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "agents.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "agents.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "image-path" -}}
{{- if .image.repository -}}
{{- .image.repository -}}@{{ .image.digest }}
{{- else -}}
{{ if .root.registry }}{{ .root.registry }}{{ else if eq (.root.site.endpoint | default "") "eu.example.org" }}eu.gcr.example/org{{ else if .root.providers.gke.autopilot }}gke.gcr.example/org{{ else }}gcr.example/org{{ end }}/{{ .image.name }}{{ if .image.digest }}@{{ .image.digest }}{{ else }}:{{ .image.tag }}{{ if .image.tagSuffix }}-{{ .image.tagSuffix }}{{ end }}{{ end }}
{{- end -}}
{{- end -}}

{{- define "agents.labels" -}}
helm.sh/chart: '{{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}'
app.kubernetes.io/name: "{{ template "agents.fullname" . }}"
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- if .Values.commonLabels}}
{{ toYaml .Values.commonLabels }}
{{- end }}
{{- end -}}

{{/* true where the trace agent is wanted */}}
{{- define "should-enable-trace-agent" -}}
{{- if or .Values.site.apm.socketEnabled .Values.site.apm.portEnabled (eq .Values.agents.containers.traceAgent.enabled true) -}}
true
{{- else -}}
false
{{- end -}}
{{- end -}}

{{- define "should-enable-system-probe" -}}
{{- if and (not .Values.providers.gke.autopilot) (or .Values.site.systemProbe.enableTCPQueueLength .Values.site.systemProbe.enableOOMKill .Values.site.securityAgent.runtime.enabled) -}}
true
{{- else -}}
false
{{- end -}}
{{- end -}}

{{- define "get-port-number-from-endpoint" -}}
{{- $endpoint := . -}}
{{- if not $endpoint -}}{{- fail "the endpoint is empty" -}}{{- end -}}
{{- regexFind "[0-9]+$" $endpoint -}}
{{- end -}}

{{- define "verify-otlp-grpc-endpoint-prefix" -}}
{{- if hasPrefix "unix:" . }}{{ fail "'unix' protocol is not currently supported on OTLP/gRPC endpoint" }}{{ end }}
{{- if hasPrefix "unix-abstract:" . }}{{ fail "'unix-abstract' protocol is not" }}{{ end }}
{{- end -}}

{{- define "verify-otlp-endpoint-port" -}}
{{- if not ( regexMatch ":[0-9]+$" . ) }}{{ fail "port must be set explicitly on OTLP endpoint" }}{{ end }}
{{- end -}}

{{- define "additional-env-entries" -}}
{{- if . -}}
{{ toYaml . }}
{{- end -}}
{{- end -}}

{{- define "additional-env-dict-entries" -}}
{{- range $key, $value := . }}
- name: {{ $key }}
{{- if kindIs "map" $value }}
{{ toYaml $value | indent 2 }}
{{- else }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "components-common-env" -}}
- name: SITE_API_KEY
  valueFrom:
    secretKeyRef:
      name: {{ template "agents.apiSecretName" . }}
      key: api-key
- name: SITE_KUBERNETES_KUBELET_HOST
{{- with .Values.site.kubelet.host }}
{{ toYaml . | indent 2 }}
{{- end }}
{{- if not (eq .Values.site.kubelet.tlsVerify nil) }}
- name: SITE_KUBELET_TLS_VERIFY
  value: {{ .Values.site.kubelet.tlsVerify | quote }}
{{- end }}
{{- if ne (include "agents.clusterName" .) "" }}
- name: SITE_CLUSTER_NAME
  value: {{ include "agents.clusterName" . | quote }}
{{- end }}
{{- if .Values.site.tags }}
- name: SITE_TAGS
  value: {{ tpl (.Values.site.tags | join " " | quote) . }}
{{- end }}
{{- if .Values.site.podLabelsAsTags }}
- name: SITE_POD_LABELS
  value: '{{ toJson .Values.site.podLabelsAsTags }}'
{{- end }}
{{- include "additional-env-entries" .Values.site.env | nindent 0 }}
{{- end -}}

{{- define "agents.apiSecretName" -}}
{{- $fullName := include "agents.fullname" . -}}
{{- default $fullName .Values.site.apiKeyExistingSecret | quote -}}
{{- end -}}

{{- define "agents.clusterName" -}}
{{- if .Values.site.clusterName -}}
{{- $clusterName := tpl .Values.site.clusterName . -}}
{{- $length := len $clusterName -}}
{{- if (gt $length 80) -}}
{{- fail (printf "Your `clusterName` is %d long; at most 80" $length) -}}
{{- end -}}
{{- if not (regexMatch "^([a-z]([a-z0-9\\-]*[a-z0-9])?\\.)*([a-z]([a-z0-9\\-]*[a-z0-9])?)$" $clusterName) -}}
{{- fail "Your `clusterName` isn't valid. It must be dot-separated tokens" -}}
{{- end -}}
{{- $clusterName -}}
{{- end -}}
{{- end -}}

{{- define "compat.rbac" -}}
{{- if $.Capabilities.APIVersions.Has "rbac.authorization.k8s.io/v1" -}}rbac.authorization.k8s.io/v1{{- else -}}rbac.authorization.k8s.io/v1beta1{{- end -}}
{{- end -}}
{{- define "policy.poddisruptionbudget.apiVersion" -}}
{{- if or (.Capabilities.APIVersions.Has "policy/v1/PodDisruptionBudget") (semverCompare ">=1.21" .Capabilities.KubeVersion.Version) -}}
"policy/v1"
{{- else -}}
"policy/v1beta1"
{{- end -}}
{{- end -}}
{{- define "ac-webhook-certs" -}}
{{- $ca := genCA "webhook-ca" 365 -}}
{{- range $name := list "mutate" "validate" }}
{{- $cert := genSignedCert (printf "%s.%s.svc" $name $.Release.Namespace) (list "127.0.0.1") (list $name (printf "%s.%s" $name $.Release.Namespace)) 365 $ca }}
{{ $name }}.crt: {{ $cert.Cert | b64enc }}
{{ $name }}.key: {{ $cert.Key | b64enc }}
{{- end }}
ca.crt: {{ $ca.Cert | b64enc }}
{{- end -}}
