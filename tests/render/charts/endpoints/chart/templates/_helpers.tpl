{{- define "endpoints.uname" -}}{{ .Values.clusterName }}-{{ .Values.nodeGroup }}{{- end -}}
{{- define "endpoints.masterService" -}}
{{- if empty .Values.masterService -}}
{{- if empty .Values.fullnameOverride -}}
{{- if empty .Values.nameOverride -}}
{{ .Values.clusterName }}-master
{{- else -}}
{{ .Values.nameOverride }}-master
{{- end -}}
{{- else -}}
{{ .Values.fullnameOverride }}
{{- end -}}
{{- else -}}
{{ .Values.masterService }}
{{- end -}}
{{- end -}}
{{- define "endpoints.endpoints" -}}
{{- $replicas := int (toString (.Values.replicas)) }}
{{- $uname := (include "endpoints.uname" .) }}
  {{- range $i, $e := untilStep 0 $replicas 1 -}}
{{ $uname }}-{{ $i }},
  {{- end -}}
{{- end -}}
{{- define "endpoints.roles" -}}
{{- range $.Values.roles -}}
{{ . }},
{{- end -}}
{{- end -}}
{{- define "endpoints.esMajorVersion" -}}
{{- if .Values.esMajorVersion -}}
{{ .Values.esMajorVersion }}
{{- else -}}
{{- $version := int (index (.Values.imageTag | default .Chart.AppVersion | splitList ".") 0) -}}
  {{- if and (contains "example/elasticsearch" (.Values.image | default "")) (not (eq $version 0)) -}}
{{ $version }}
  {{- else -}}
8
  {{- end -}}
{{- end -}}
{{- end -}}
{{- define "endpoints.gen-certs" -}}
{{- $altNames := list ( include "endpoints.masterService" . ) ( printf "%s.%s" (include "endpoints.masterService" .) .Release.Namespace ) ( printf "%s.%s.svc" (include "endpoints.masterService" .) .Release.Namespace ) -}}
{{- $ca := genCA "endpoints-ca" 365 -}}
{{- $cert := genSignedCert ( include "endpoints.masterService" . ) nil $altNames 365 $ca -}}
tls.crt: {{ $cert.Cert | toString | b64enc }}
tls.key: {{ $cert.Key | toString | b64enc }}
ca.crt: {{ $ca.Cert | toString | b64enc }}
{{- end -}}
{{/* Several addresses and credentials, one URL. */}}
{{- define "endpoints.redis.scheme" -}}{{- with .Values.external.redis }}{{- ternary "redis+sentinel" "redis" (and (not (not .sentinelMasterSet)) true) }}{{- end }}{{- end -}}
{{- define "endpoints.redis.cred" -}}
{{- with .Values.external.redis }}{{- ternary (printf "%s:%s@" (.username | urlquery) (.password | urlquery)) "" (and (ne .password "") true) }}{{- end }}
{{- end -}}
{{- define "endpoints.redis.url" -}}
{{- with .Values.external.redis }}
{{- $path := ternary "" (printf "/%s" (include "endpoints.redis.masterSet" $)) (not (include "endpoints.redis.masterSet" $)) }}
{{- printf "%s://%s%s%s" (include "endpoints.redis.scheme" $) (include "endpoints.redis.cred" $) .addr $path -}}
{{- end }}
{{- end -}}
{{- define "endpoints.redis.masterSet" -}}{{- with .Values.external.redis }}{{- ternary .sentinelMasterSet "" (eq "redis+sentinel" (include "endpoints.redis.scheme" $)) }}{{- end }}{{- end -}}
{{- define "endpoints.redis.urlFor" -}}
{{- with .ctx.Values.external.redis }}{{- ternary "" (printf "%s/%s?idle_timeout_seconds=30" (include "endpoints.redis.url" $.ctx) (index . (printf "%sDatabaseIndex" $.component))) (empty (index . (printf "%sDatabaseIndex" $.component))) }}{{- end }}
{{- end -}}
{{- define "endpoints.noProxy" -}}
{{- printf "%s,%s" (join "," (list "core" "db" (printf "%s.svc" .Release.Name))) .Values.proxy.noProxy -}}
{{- end -}}
{{- define "endpoints.autoGen" -}}
{{- if and .Values.expose.tls.enabled (eq .Values.expose.tls.certSource "auto") -}}{{- printf "true" -}}{{- end -}}
{{- end -}}
{{- define "endpoints.autoGenForIngress" -}}
{{- if and (eq (include "endpoints.autoGen" .) "true") (eq .Values.expose.type "ingress") -}}{{- printf "true" -}}{{- end -}}
{{- end -}}
{{- define "endpoints.traceEnvs" -}}
TRACE_SAMPLE_RATE: "{{ .Values.trace.sample_rate }}"
{{- if eq .Values.trace.provider "jaeger" }}
TRACE_JAEGER_ENDPOINT: "{{ .Values.trace.jaeger.endpoint }}"
{{- else }}
TRACE_OTEL_ENDPOINT: "{{ .Values.trace.otel.endpoint }}"
{{- end }}
{{- end -}}
