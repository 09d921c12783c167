{{- define "flow.fullname" -}}
{{- if not .Values.useStandardNaming }}{{- .Release.Name }}{{- else }}{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 }}{{- end }}
{{- end }}
{{ define "flow_dags" -}}
{{- if eq "" (.Values.dagsPath | default "") -}}{{- printf "%s/dags" .Values.home -}}{{- else -}}{{ .Values.dagsPath }}{{- end -}}
{{- end }}
{{/* Standard environment: {{ include "standard_env" . }} */}}
{{- define "standard_env" }}
  {{- if not .Values.disableFernet }}
  - name: FLOW__CORE__FERNET_KEY
    valueFrom:
      secretKeyRef:
        name: {{ template "fernet_secret" . }}
        key: fernet-key
  {{- end }}
  {{- $Global := . }}
  {{- range $i, $config := .Values.env }}
  - name: {{ $config.name }}
    value: {{ $config.value | quote }}
    {{- if or (eq $Global.Values.executor "KubernetesExecutor") (contains "KubernetesExecutor" $Global.Values.executor) }}
  - name: FLOW__KUBERNETES_ENVIRONMENT_VARIABLES__{{ $config.name }}
    value: {{ $config.value | quote }}
    {{- end }}
  {{- end }}
  {{- if or (.Values.secret) (eq 1 (len (list 1))) }}
  {{- range $i, $config := .Values.secret }}
  - name: {{ $config.envName }}
    valueFrom:
      secretKeyRef:
        name: {{ $config.secretName }}
        key: {{ default "value" $config.secretKey }}
  {{- end }}
  {{- end }}
{{- end }}
{{- define "custom_env" }}
  {{- with .Values.extraEnv }}
  {{- tpl . $ | nindent 2 }}
  {{- end }}
{{- end }}
{{- define "fernet_secret" -}}{{ default (printf "%s-fernet-key" (include "flow.fullname" .)) .Values.fernetKeySecretName }}{{- end }}
{{- define "flow_image" -}}
  {{- $repository := .Values.image | default dict | dig "repository" "apache/flow" -}}
  {{- $tag := dig "tag" .Values.defaultTag (.Values.image | default (dict)) -}}
  {{- $digest := get (.Values.image | default dict) "digest" -}}
  {{- if $digest }}{{- printf "%s@%s" $repository $digest -}}{{- else }}{{- printf "%s:%s" $repository $tag -}}{{- end }}
{{- end }}
{{- define "flow_config_sections" -}}
{{- range $section, $settings := .Values.config }}
[{{ $section }}]
{{- range $key, $val := $settings }}
{{ $key }} = {{ tpl ($val | toString) $ }}
{{- end }}
{{ end -}}
{{- end }}
{{- define "connection" -}}
{{- $host := .Values.data.metadataConnection.host | default (printf "%s-%s.%s" .Release.Name "postgresql" .Release.Namespace) }}
{{- with .Values.data.metadataConnection }}
{{- $query := (list (printf "sslmode=%s" .sslmode)) | join "&" }}
{{- urlJoin (dict "scheme" .protocol "userinfo" (printf "%s:%s" (.user | urlquery) (.pass | urlquery) ) "host" (printf "%s:%s" $host (.port | toString)) "path" (printf "/%s" .db) "query" $query) }}
{{- end }}
{{- end }}
{{- define "hosts" }}
{{- range .Values.ingress.web.hosts | default (list .Values.ingress.web.host) }}
{{- if kindIs "string" . }}
- host: {{ tpl . $ | quote }}
{{- else }}
- host: {{ tpl .name $ | quote }}
  tls: {{ dig "tls" "enabled" false . }}
{{- end }}
{{- end }}
{{- end }}
{{- define "workers.sets" -}}
{{- $default := omit .Values.workers "sets" -}}
{{- $_ := set $default "name" "default" -}}
{{- $sets := list $default -}}
{{- range .Values.workers.sets -}}{{- $sets = append $sets (mergeOverwrite (deepCopy $default) (deepCopy .)) -}}{{- end -}}
{{- $sets | toYaml -}}
{{- end -}}
{{- define "envify" -}}
{{- $prefix := index . 0 -}}{{- $value := index . 1 -}}
{{- if kindIs "map" $value -}}
{{- range $k, $v := $value -}}
{{- include "envify" (list (ternary $k (printf "%s__%s" $prefix $k) (empty $prefix)) $v) -}}
{{- end -}}
{{- else if kindIs "slice" $value -}}
{{- range $i, $v := $value -}}{{- include "envify" (list (printf "%s_%d" $prefix $i) $v) -}}{{- end -}}
{{- else if not (kindIs "invalid" $value) }}
{{ $prefix | replace "-" "_" | replace "." "_" | snakecase | upper }}: {{ $value | toString | quote }}
{{- end -}}
{{- end -}}
