{{- define "suite.fullname" -}}{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 63 }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" }}{{ end -}}{{- end }}
{{- define "jenkins.casc.podTemplate" -}}
- name: {{ .name | quote }}
  label: {{ tpl (.agent.label | default "none") .root | quote }}
  idleMinutes: {{ .agent.idle }}
{{- if .agent.env }}
  envVars:
  {{- range $index, $var := .agent.env }}
  - envVar: {key: {{ $var.name | quote }}, value: {{ tpl $var.value $.root | quote }}, index: {{ $index }}}
  {{- end }}
{{- end }}
{{- with .agent.yaml }}
  yaml: |-
    {{- tpl (trim .) $.root | nindent 4 }}
{{- end }}
  id: {{ sha256sum (toYaml .agent) | trunc 10 }}
{{- end -}}
{{- define "temporal.persistence.driver" -}}
{{- $global := index . 0 -}}{{- $store := index . 1 -}}
{{- $storeConfig := index $global.Values.server.config.persistence $store -}}
{{- if $storeConfig.driver -}}{{- $storeConfig.driver -}}
{{- else -}}{{- required (printf "Please specify persistence driver for %s store" $store) $storeConfig.driver -}}{{- end -}}
{{- end -}}
{{- define "temporal.persistence.sql.port" -}}
{{- $g := index . 0 }}{{ $store := index . 1 }}{{ with (index $g.Values.server.config.persistence $store).sql }}{{ default 3306 .port }}{{ end -}}
{{- end -}}
{{- define "partials.resources" -}}
{{- $resources := .resources -}}{{- $proxy := .proxy | default false -}}
{{- $ephemeralStorage := index .resources "ephemeral-storage" | default dict -}}
resources:
  {{- if or (($resources.cpu).limit) (($resources.memory).limit) ($ephemeralStorage).limit }}
  limits:
    {{- with ($resources.cpu).limit }}
    cpu: {{ . | quote }}
    {{- end }}
    {{- with ($resources.memory).limit }}
    memory: {{ . | quote }}
    {{- end }}
  {{- end }}
  requests: {cpu: {{ $resources.cpu.request | quote }}, memory: {{ ($resources.memory).request | quote }}}
{{- end -}}
{{- define "otel.baseLoggingConfig" }}
receivers:
  filelog:
    include: [/var/log/pods/*/*/*.log]
    {{- if not .Values.presets.logs.includeSelf }}
    exclude: [ "/var/log/pods/{{ .Release.Namespace }}_{{ .Release.Name }}*_*/{{ .Chart.Name }}/*.log" ]
    {{- end }}
    operators:
      - {type: container, id: container-parser, max_log_size: 102400}
{{- end }}
{{- define "otel.hostMetrics" }}
receivers: {hostmetrics: {collection_interval: 10s, scrapers: {cpu: null, disk: {}}}}
{{- end }}
{{- define "otel.applyLogs" -}}
{{- $config := mustMergeOverwrite (include "otel.baseLoggingConfig" .Values | fromYaml) .config }}
{{- $_ := set $config.service.pipelines.logs "receivers" (append $config.service.pipelines.logs.receivers "filelog" | uniq) }}
{{- $config | toYaml }}
{{- end -}}
{{- define "otel.config" -}}
{{- $values := deepCopy .Values.collector }}
{{- $data := dict "Values" $values | mustMergeOverwrite (deepCopy (pick . "Chart" "Release" | toJson | fromJson)) }}
{{- $_ := set $values "Release" (dict "Name" .Release.Name "Namespace" .Release.Namespace) }}{{ $_ := set $values "Chart" (dict "Name" .Chart.Name) }}{{ $_ := set $values "Values" $values }}
{{- $config := deepCopy $values.config }}
{{- if $values.presets.logs.enabled }}{{ $config = (include "otel.applyLogs" (dict "Values" $values "config" $config) | fromYaml) }}{{ end }}
{{- if $values.presets.hostMetrics.enabled }}
{{- $config = mustMergeOverwrite (include "otel.hostMetrics" $data | fromYaml) $config }}
{{- if $config.service.pipelines.metrics }}{{ $_ := set $config.service.pipelines.metrics "receivers" (append $config.service.pipelines.metrics.receivers "hostmetrics" | uniq) }}{{ end }}
{{- end }}
{{- tpl (toYaml $config) . }}
{{- end -}}
{{- define "vault.mode" -}}
  {{- $_ := set . "serverEnabled" (or (eq (.Values.vault.injector.enabled | toString) "true") (and (eq (.Values.vault.injector.enabled | toString) "-") (eq (.Values.vault.global.enabled | toString) "true"))) -}}
  {{- if eq (.Values.vault.dev.enabled | toString) "true" -}}{{- $_ := set . "mode" "dev" -}}
  {{- else if eq (.Values.vault.ha.enabled | toString) "true" -}}{{- $_ := set . "mode" "ha" -}}
  {{- else if or (eq (.Values.vault.standalone.enabled | toString) "true") (eq (.Values.vault.standalone.enabled | toString) "-") -}}{{- $_ := set . "mode" "standalone" -}}
  {{- else -}}{{- $_ := set . "mode" "" -}}{{- end -}}
{{- end -}}
{{- define "vault.env" -}}{{- range $key, $value := .}}
- name: {{ printf "%s" $key | upper | quote }}
  value: {{ printf "%v" $value | quote }}
{{- end }}{{- end -}}
{{- define "authentik.env" -}}
  {{- range $k, $v := .values -}}
    {{- if kindIs "map" $v -}}
      {{- range $sk, $sv := $v -}}
        {{- include "authentik.env" (dict "root" $.root "values" (dict (printf "%s__%s" (upper $k) (upper $sk)) $sv)) -}}
      {{- end -}}
    {{- else -}}
      {{- $value := $v -}}
      {{- if or (kindIs "bool" $v) (kindIs "float64" $v) (kindIs "int" $v) (kindIs "int64" $v) -}}{{- $v = $v | toString | b64enc | quote -}}
      {{- else -}}{{- $v = tpl (toString $v) $.root | toString | b64enc | quote }}{{- end -}}
      {{- if and ($v) (ne $v "\"\"") }}
{{ printf "AUTHENTIK_%s" (upper $k) }}: {{ $v }} {{- /* trailing */ -}}
      {{- end }}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- define "gitlab.checkConfig" -}}
{{- $messages := list -}}
{{- $messages = append $messages (include "gitlab.check.replicas" .) -}}
{{- $messages = append $messages (include "gitlab.check.mode" .) -}}
{{- $messages = without $messages "" -}}
{{- $message := join "\n" $messages -}}
{{- if $message -}}{{- printf "\nCONFIGURATION CHECKS:\n%s" $message | fail -}}{{- end -}}
{{- end -}}
{{- define "gitlab.check.replicas" -}}{{- if and (eq (int .Values.loki.replicas) 2) }}
loki: replicas
    Two is no quorum (found {{ .Values.loki.replicas }} {{ typeOf .Values.loki.replicas }}).
{{- end -}}{{- end -}}
{{- define "gitlab.check.mode" -}}{{- if not (has .Values.collector.mode (list "daemonset" "deployment" "statefulset")) }}
collector: mode {{ .Values.collector.mode | quote }}
{{- end -}}{{- end -}}
{{- define "suite.deployment.overrides" -}}
spec:
  replicas: {{ .Values.loki.replicas }}
metadata:
  annotations: {checksum/config: {{ include (print $.Template.BasePath "/config.yaml") . | sha256sum }}}
{{- end -}}
{{- define "cilium.ca" -}}{{- $ca := .ca | default (genCA "Cilium CA" 1095) -}}{{- $_ := set . "ca" $ca -}}{{- $ca.Cert | b64enc -}}{{- end -}}
