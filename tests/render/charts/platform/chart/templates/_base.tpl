{{/* vim: set filetype=mustache: */}}
{{- define "platform.name" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- define "platform.fullname" -}}
{{-   if .Values.fullnameOverride -}}
{{-     .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{-   else -}}
{{-     $name := default .Chart.Name .Values.nameOverride -}}
{{-     if contains $name .Release.Name -}}{{- .Release.Name | trunc 63 | trimSuffix "-" -}}{{- else -}}
{{-     printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}{{- end -}}
{{-   end -}}
{{- end -}}
{{- define "platform.hostname" -}}
{{- $ctx := .context -}}{{- $h := dig "hosts" .name (dict) ($ctx.Values.global | default dict) | default dict -}}
{{- coalesce $h.name (printf "%s%s.%s" .name ($ctx.Values.global.hosts.hostSuffix | ternary (printf "-%v" $ctx.Values.global.hosts.hostSuffix) "" ) $ctx.Values.global.hosts.domain) -}}
{{- end -}}
{{- define "platform.https" -}}
{{- if pluck "https" (index .Values.global.hosts "gitlab" | default dict) .Values.global.hosts | first -}}https{{- else -}}http{{- end -}}
{{- end -}}
{{- define "platform.url" }}{{ include "platform.https" . }}://{{ template "platform.hostname" (dict "name" "gitlab" "context" $) }}{{ end }}
{{- define "platform.redis.configMerge" -}}
{{-   $_ := set $ "redisConfigName" (default "" $.redisConfigName) -}}
{{-   $_ := unset $ "redisMergedConfig" -}}
{{-   $_ := set $ "redisMergedConfig" (dict "redisConfigName" $.redisConfigName) -}}
{{-   range $want := list "host" "port" "scheme" "user" "sentinels" -}}
{{-     $_ := set $.redisMergedConfig $want (pluck $want (index $.Values.global.redis $.redisConfigName | default dict) $.Values.global.redis | first) -}}
{{-   end -}}
{{-   if kindIs "map" (get (index $.Values.global.redis $.redisConfigName | default dict) "password") }}
{{-     $_ := set $.redisMergedConfig "password" (get (index $.Values.global.redis $.redisConfigName) "password") -}}
{{-   else if (kindIs "map" (get $.Values.global.redis "auth")) -}}
{{-     $_ := set $.redisMergedConfig "password" (deepCopy $.Values.global.redis.auth) -}}
{{-   else -}}
{{-     $_ := set $.redisMergedConfig "password" $.Values.global.redis.auth -}}
{{-   end -}}
{{-   range $key := keys $.redisMergedConfig.password | sortAlpha -}}
{{-     if not (has $key (list "enabled" "key" "secret")) }}{{ $_ := unset $.redisMergedConfig.password $key }}{{ end }}
{{-   end -}}
{{- end -}}
{{- define "platform.redis.url" -}}
{{- include "platform.redis.configMerge" . -}}
{{- $c := .redisMergedConfig -}}
{{- if $c.sentinels }}
{{ $c.scheme | default "redis" }}://{{ if ne (toString $c.password.enabled) "false" }}:<%= ERB::Util::url_encode(File.read("/etc/{{ $c.password.key | default "redis-password" }}").strip) %>@{{ end }}{{ $c.host }}
sentinels:
{{- range $i, $e := $c.sentinels }}
  - host: {{ $e.host }}
    port: {{ default 26379 $e.port }}
{{- end }}
{{- else }}
{{ coalesce $c.scheme "redis" }}://{{ default (printf "%s-redis-master.%s.svc" $.Release.Name $.Release.Namespace) $c.host }}:{{ int (coalesce $c.port 6379) }}
{{- end -}}
{{- end -}}
{{- define "platform.extraEnv" -}}
{{- $allExtraEnv := merge (default (dict) .local.extraEnv) .global.extraEnv -}}
{{- range $key, $value := $allExtraEnv }}
- name: {{ $key }}
  value: {{ $value | quote }}
{{- end -}}
{{- end -}}
{{- define "platform.extraEnvFrom" -}}
{{- include "platform.convertEnv" (dict "env" (merge (.local.extraEnvFrom | default dict) .global.extraEnvFrom) "root" .root) | nindent 0 -}}
{{- end -}}
{{- define "platform.convertEnv" -}}{{- range $k, $v := .env }}
- name: {{ $k }}
  valueFrom:
{{ toYaml $v | nindent 4 | trimPrefix "\n" }}
{{- end }}{{ end -}}
{{- define "platform.objstore" -}}
{{- if .config.enabled }}
{{ .name }}:
  enabled: true
  remote_directory: {{ .config.bucket | quote }}
  {{- if .config.connection }}
  connection: <%= YAML.load_file("/etc/gitlab/objectstorage/{{ .name }}").to_json() %>
  {{- else if dig "object_store" "enabled" false .context.Values.global.appConfig }}
  connection: consolidated
  {{- end }}
{{- end -}}
{{- end -}}
{{- define "platform.selectorLabels" -}}
app: {{ template "platform.name" . }}
release: {{ .Release.Name }}
{{ if .Values.global.application.create -}}
app.kubernetes.io/name: {{ .Release.Name }}
{{ end -}}
{{- end -}}
{{- define "platform.standardLabels" -}}
{{ include "platform.selectorLabels" . | trim }}
chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
heritage: {{ .Release.Service }}
{{- with merge (.Values.common | default dict).labels .Values.global.common.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}
{{- define "platform.parseAppVersion" -}}
{{- $appVersion := coalesce .appVersion "master" -}}
{{- if regexMatch "^\\d+\\.\\d+\\.\\d+(-rc\\d+)?(-pre)?$" $appVersion -}}{{ printf "v%s" $appVersion }}{{- else -}}{{- $appVersion -}}{{- end -}}
{{- end -}}
{{- define "platform.checkConfig" -}}
{{- $messages := list -}}
{{- $messages = append $messages (include "platform.check.hosts" .) -}}
{{- $messages = append $messages (include "platform.check.psql" .) -}}
{{- $messages = append $messages (include "platform.check.storages" .) -}}
{{- $messages = without $messages "" -}}
{{- $message := join "\n" $messages -}}
{{- if $message -}}
{{-   printf "\nCONFIGURATION CHECKS:\n%s" $message | fail -}}
{{- end -}}
{{- end -}}
{{- define "platform.check.hosts" -}}
{{- if has .Values.global.hosts.domain (list nil "" "localhost") }}
hosts:
    global.hosts.domain must be given, found {{ .Values.global.hosts.domain | quote }}
{{- end -}}
{{- end -}}
{{- define "platform.check.psql" -}}
{{- $errors := list -}}
{{- range $k, $v := .Values.global.psql -}}
{{- if kindIs "map" $v -}}{{- if and (not $v.host) (not $.Values.global.psql.host) (ne $k "ci") -}}{{- $errors = append $errors $k -}}{{- end -}}{{- end -}}
{{- end -}}
{{- if not (empty $errors) }}
psql: no host for {{ $errors | sortAlpha | join ", " }}
{{- end -}}
{{- end -}}
{{- define "platform.check.storages" -}}
{{- $names := list -}}{{- range .Values.global.gitaly.external }}{{- $names = append $names .name }}{{- end -}}
{{- $names = concat $names .Values.global.gitaly.internal.names -}}
{{- if lt (len (uniq $names)) (len $names) }}
gitaly: each storage must have a name of its own: {{ toJson $names }}
{{- end -}}
{{- end -}}
