{{- define "checks.name" -}}{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}{{- end -}}
{{- define "checks.fullname" -}}
{{- if .Values.fullnameOverride -}}{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}{{- $name := include "checks.name" . -}}
{{- if contains $name .Release.Name -}}{{- .Release.Name | trunc 63 | trimSuffix "-" -}}{{- else -}}{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}{{- end -}}{{- end -}}
{{- end -}}
{{- define "checks.labels" -}}
app: {{ include "checks.name" . }}
chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
release: {{ .Release.Name }}
heritage: {{ .Release.Service }}
{{ if .Values.global.pod.labels -}}
{{ toYaml .Values.global.pod.labels }}
{{- end -}}
{{- end -}}
{{- define "checks.immutable" -}}
{{- $given := .labels | default dict -}}
{{- $known := include "checks.labels" .context | fromYaml -}}
{{- range $k, $v := merge (dict "z" "last") $given }}
{{- if not (hasKey $known $k) }}
{{ $k }}: {{ $v | toString | quote }}
{{- end }}
{{- end }}
{{- end -}}
{{- define "checks.image" -}}
{{- $registry := coalesce .local.registry .global.registry "docker.io" -}}
{{- $tag := coalesce .local.tag .global.tag "master" | toString -}}
{{- if hasPrefix "sha256:" $tag }}{{ printf "%s/%s@%s" $registry .local.repository $tag }}{{ else }}{{ printf "%s/%s:%s" $registry .local.repository (trimPrefix "v" $tag) }}{{ end }}
{{- end -}}
{{- define "checks.host" -}}
{{- $hosts := .context.Values.global.hosts -}}
{{- coalesce (dig .name "name" "" $hosts) (printf "%s%s.%s" .name (empty $hosts.hostSuffix | ternary "" (printf "-%s" $hosts.hostSuffix)) $hosts.domain) -}}
{{- end -}}
{{- define "checks.url" -}}
{{- $scheme := or (and .Values.global.hosts.https "https") "http" -}}
{{- urlJoin (dict "scheme" $scheme "host" (include "checks.host" (dict "name" "web" "context" .)) "path" "/-/health" "query" "a=1&b=%20") -}}
{{- end -}}
{{- define "checks.env" -}}
{{- $env := dict "timeZone" .Values.global.time_zone "edition" .Values.global.edition -}}
{{- if eq .Values.global.edition "ee" }}{{ $_ := set $env "licenseURL" "https://example.org" }}{{ end -}}
{{- $env | toYaml -}}
{{- end -}}
{{/* Messages of all checks, at once. */}}
{{- define "checks.run" -}}
{{- $messages := list -}}
{{- $messages = append $messages (include "checks.psql" .) -}}
{{- $messages = append $messages (include "checks.redis" .) -}}
{{- $messages = append $messages (include "checks.email" .) -}}
{{- $messages = append $messages (include "checks.deprecated" .) -}}
{{- $messages = without $messages "" -}}
{{- $message := join "\n" $messages -}}
{{- if $message -}}{{- printf "\nCONFIGURATION CHECKS:\n%s" $message | fail -}}{{- end -}}
{{- end -}}
{{- define "checks.psql" -}}
{{- if not .Values.global.psql.host }}
psql: no host
    A PostgreSQL server is needed: set `global.psql.host`.
{{- end -}}
{{- end -}}
{{- define "checks.redis" -}}
{{- range $i, $sentinel := .Values.global.redis.sentinels }}
{{- if not (kindIs "map" $sentinel) }}
redis: sentinel {{ $i }} is {{ kindOf $sentinel }} {{ printf "%v (%T)" $sentinel $sentinel }}
{{- end }}
{{- end -}}
{{- end -}}
{{- define "checks.email" -}}
{{- with .Values.global.email.from }}{{ if not (regexMatch "^[^@ ]+@[^@ ]+$" .) }}
email: `{{ . }}` is no address
{{- end }}{{ end -}}
{{- end -}}
{{- define "checks.deprecated" -}}
{{- $old := list "redis" "postgresql.install" "gitaly.persistence.old" -}}
{{- range $path := $old -}}
  {{- $at := $.Values -}}{{- $found := true -}}
  {{- range $part := splitList "." $path -}}
    {{- if and $found (kindIs "map" $at) (hasKey $at $part) -}}{{- $at = index $at $part -}}{{- else -}}{{- $found = false -}}{{- end -}}
  {{- end -}}
  {{- if $found }}
deprecated: {{ $path }} = {{ $at | toJson | abbrev 40 }}
  {{- end -}}
{{- end -}}
{{- end -}}
