{{- define "name" -}}{{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}{{- end -}}
{{- define "fullname" -}}
{{- printf "%s-%s" .Release.Name (default .Chart.Name .Values.nameOverride) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- define "forge.assembleHost" -}}
{{- $name := index . "name" -}}
{{- $context := index . "context" -}}
{{- $hostname := dict "hostname" (printf "%s." $name) -}}
{{- if $context.Values.global.hosts.hostSuffix -}}
{{-   $_ := set $hostname "hostname" (printf "%s-%s." $name $context.Values.global.hosts.hostSuffix) -}}
{{- end -}}
{{- if $context.Values.global.hosts.domain -}}
{{-   $_ := set $hostname "hostname" (printf "%s%s" $hostname.hostname $context.Values.global.hosts.domain) -}}
{{- else -}}
{{-   $_ := set $hostname "hostname" "" -}}
{{- end -}}
{{- $hostname.hostname -}}
{{- end -}}
{{- define "forge.host" -}}{{- coalesce .Values.global.hosts.forge.name (include "forge.assembleHost"  (dict "name" "forge" "context" . )) -}}{{- end -}}
{{- define "forge.minio.host" -}}{{- coalesce .Values.global.hosts.minio.name (include "forge.assembleHost"  (dict "name" "minio" "context" . )) -}}{{- end -}}
{{- define "forge.url" -}}
{{ if or .Values.global.hosts.https .Values.global.hosts.forge.https }}{{ printf "https://%s" (include "forge.host" .) }}{{ else }}{{ printf "http://%s" (include "forge.host" .) }}{{ end }}
{{- end -}}
{{- define "forge.boolean.local" -}}
{{- if kindIs "bool" .local -}}
{{- .local -}}
{{- else if kindIs "bool" .global -}}
{{- .global -}}
{{- else if hasKey . "default" -}}
{{- .default -}}
{{- end -}}
{{- end -}}
{{- define "forge.psql.host" -}}
{{- $local := pluck "psql" $.Values | first -}}
{{- $useGlobal := pick (default (dict) $local) "host" | empty -}}
{{- coalesce (pluck "host" $local (default (dict) $.Values.global.psql.main) .Values.global.psql | compact | first) (printf "%s.%s.svc" "p" $.Release.Namespace) -}}
{{- end -}}
{{- define "forge.psql.password.secret" -}}
{{- $localPass := pluck "password" (default (dict) $.Values.psql) | first -}}
{{- default (printf "%s-%s" .Release.Name "pw") (pluck "secret" $localPass $.Values.global.psql.password | first ) | quote -}}
{{- end -}}
{{- define "forge.redis.configMerge" -}}
{{-   $_ := set $ "redisConfigName" (default "" $.redisConfigName) -}}
{{-   $_ := unset $ "redisMergedConfig" -}}
{{-   $_ := set $ "redisMergedConfig" (dict "redisConfigName" $.redisConfigName) -}}
{{-   range $want := list "host" "port" "scheme" "user" -}}
{{-     $_ := set $.redisMergedConfig $want (pluck $want (index $.Values.global.redis $.redisConfigName) $.Values.global.redis | first) -}}
{{-   end -}}
{{- if kindIs "map" (get (index $.Values.global.redis $.redisConfigName) "password")  -}}
{{-   $_ := set $.redisMergedConfig "password" (get (index $.Values.global.redis $.redisConfigName) "password") -}}
{{- else if (kindIs "map" (get $.Values.global.redis "password")) -}}
{{-   $_ := set $.redisMergedConfig "password" (get $.Values.global.redis "password") -}}
{{- else -}}
{{-   $_ := set $.redisMergedConfig "password" $.Values.global.redis.auth -}}
{{- end -}}
{{- range $key := keys $.Values.global.redis.auth -}}
{{-   if not (hasKey $.redisMergedConfig.password $key) -}}
{{-     $_ := set $.redisMergedConfig.password $key (index $.Values.global.redis.auth $key) -}}
{{-   end -}}
{{- end -}}
{{- end -}}
{{- define "forge.redis.url" -}}
{{- include "forge.redis.configMerge" . -}}
{{ printf "%s://%s%s:%v" (default "redis" .redisMergedConfig.scheme) (default "" .redisMergedConfig.user) (default "localhost" .redisMergedConfig.host) (default 6379 .redisMergedConfig.port) }}
{{- end -}}
{{- define "forge.redis.sentinelsList" -}}
{{- $sentinels := default (list) (pluck "sentinels" (index $.Values.global.redis $.redisConfigName) | first) -}}
{{- range $i, $entry := $sentinels }}
- host: {{ $entry.host }}
  port: {{ default 26379 $entry.port }}
{{- end }}
{{- end -}}
{{- define "forge.standardLabels" -}}
app: {{ template "name" . }}
chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
release: {{ .Release.Name }}
heritage: {{ .Release.Service }}
{{ if eq (.Values.global.application | default dict).create true -}}
app.kubernetes.io/name: {{ .Release.Name }}
{{- end -}}
{{- end -}}
{{- define "forge.commonLabels" -}}
{{- $commonLabels := merge (pluck "labels" (default (dict) .Values.common) | first) .Values.global.common.labels}}
{{- if $commonLabels }}
{{-   range $key, $value := $commonLabels }}
{{ $key }}: {{ $value | quote }}
{{-   end }}
{{- end -}}
{{- end -}}
{{- define "forge.checkConfig" -}}
{{- $messages := list -}}
{{- $messages = append $messages (include "forge.checkConfig.gitaly" .) -}}
{{- $messages = append $messages (include "forge.checkConfig.ldap" .) -}}
{{- $messages := without $messages "" -}}
{{- $message := join "\n" $messages -}}
{{- if $message -}}
{{-   printf "\nCONFIGURATION CHECKS:\n%s" $message | fail -}}
{{- end -}}
{{- end -}}
{{- define "forge.checkConfig.gitaly" -}}
{{- $errorMsg := list -}}
{{- range $i, $n := .Values.global.gitaly.internal.names -}}
{{- if regexMatch "[A-Z]" $n }}{{- $errorMsg = append $errorMsg (printf "storage `%s` (number %d) has capitals" $n $i) }}{{ end -}}
{{- end -}}
{{- if not (empty $errorMsg) }}
gitaly: 
{{- range $errorMsg }}
    {{ . }}
{{- end }}
{{- end -}}
{{- end -}}
{{- define "forge.checkConfig.ldap" -}}
{{- range $k, $s := .Values.global.appConfig.ldap.servers }}{{- if not (hasKey $s "host") }}
ldap:
    server {{ $k }} needs a host
{{ end }}{{- end -}}
{{- end -}}
{{- define "forge.appConfig.objectStorage.config" -}}
{{ .name }}:
  enabled: {{ if kindIs "bool" .config.enabled }}{{ eq .config.enabled true }}{{ end }}
  {{- if not .context.Values.global.appConfig.object_store.enabled }}
  object_store:
    enabled: true
    remote_directory: {{ .config.bucket }}
    {{- if .config.connection }}
    connection: <%= YAML.load_file("/etc/{{ .name }}/{{ default "connection" .config.connection.key }}").to_json() %>
    {{- else }}
    connection: <%= { "endpoint" => "http://{{ template "forge.minio.host" .context }}" }.to_json() %>
    {{- end }}
    proxy_download: {{ or (not (kindIs "bool" .config.proxy_download)) .config.proxy_download }}
  {{- end }}
{{- end -}}
{{- define "forge.csp" -}}
{{- range $d, $v := .directives }}
{{ $d }}: {{ $v | quote }}
{{- end }}
{{- end -}}
{{- define "forge.gitaly.storages" -}}
{{- range (coalesce $.Values.global.gitaly.internal.names (list "default")) }}
{{ . }}:
  path: /var/opt/repo
  gitaly_address: tcp://{{ template "forge.gitaly.qualified" (dict "name" . "context" $ "index" 3) }}:{{ default 8075 $.Values.global.gitaly.port }}
{{- end }}
{{- end -}}
{{- define "forge.gitaly.qualified" -}}{{ printf "%s-%s-%v" .context.Release.Name .name .index | trunc 40 | trimSuffix "-" }}{{- end -}}
