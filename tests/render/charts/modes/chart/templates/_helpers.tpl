{{- define "modes.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- define "modes.fullname" -}}
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
{{/* What runs is written into the root itself, and read by everything that follows. */}}
{{- define "modes.serverEnabled" -}}
{{- $_ := set . "serverEnabled" (or
  (eq (.Values.server.enabled | toString) "true")
  (and (eq (.Values.server.enabled | toString) "-")
       (eq (.Values.global.enabled | toString) "true"))) -}}
{{- end -}}
{{- define "modes.injectorEnabled" -}}
{{- $_ := set . "injectorEnabled" (or
  (eq (.Values.injector.enabled | toString) "true")
  (and (eq (.Values.injector.enabled | toString) "-") (eq (.Values.global.enabled | toString) "true"))) -}}
{{- end -}}
{{- define "modes.mode" -}}
  {{- template "modes.serverEnabled" . -}}
  {{- if or (.Values.injector.externalAddr) (.Values.global.externalAddr) -}}
    {{- $_ := set . "mode" "external" -}}
  {{- else if not .serverEnabled -}}
    {{- $_ := set . "mode" "external" -}}
  {{- else if eq (.Values.server.dev.enabled | toString) "true" -}}
    {{- $_ := set . "mode" "dev" -}}
  {{- else if eq (.Values.server.ha.enabled | toString) "true" -}}
    {{- $_ := set . "mode" "ha" -}}
  {{- else if or (eq (.Values.server.standalone.enabled | toString) "true") (eq (.Values.server.standalone.enabled | toString) "-") -}}
    {{- $_ := set . "mode" "standalone" -}}
  {{- else -}}
    {{- $_ := set . "mode" "" -}}
  {{- end -}}
{{- end -}}
{{- define "modes.replicas" -}}
{{ if eq .mode "standalone" }}
{{- default 1 -}}
{{ else if eq .mode "ha" }}
{{- if or (kindIs "int64" .Values.server.ha.replicas) (kindIs "float64" .Values.server.ha.replicas) -}}
{{- .Values.server.ha.replicas -}}
{{ else }}
{{- 3 -}}
{{- end -}}
{{ else }}
{{- default 1 -}}
{{ end }}
{{- end -}}
{{- define "modes.pdb.maxUnavailable" -}}
{{- if eq (int .Values.server.ha.replicas) 1 -}}
{{ 0 }}
{{- else if .Values.server.ha.disruptionBudget.maxUnavailable -}}
{{ .Values.server.ha.disruptionBudget.maxUnavailable -}}
{{- else -}}
{{- div (sub (div (mul (int .Values.server.ha.replicas) 10) 2) 1) 10 -}}
{{- end -}}
{{- end -}}
{{- define "modes.block" -}}
  {{- with index . 1 }}
  {{- $tp := typeOf . -}}
{{ index $ 2 }}:
  {{- if eq $tp "string" }}
    {{- tpl . (index $ 0) | nindent (index $ 3 | int) }}
  {{- else }}
    {{- toYaml . | nindent (index $ 3 | int) }}
  {{- end }}
  {{- end }}
{{- end -}}
{{- define "modes.mounts" -}}
  {{ if eq .mode "standalone" }}
    {{ if eq (.Values.server.dataStorage.enabled | toString) "true" }}
            - name: data
              mountPath: /data
    {{ end }}
  {{ end }}
  {{ if and (eq .mode "ha") (eq (.Values.server.ha.raft.enabled | toString) "true") }}
            - name: data
              mountPath: /raft
  {{ end }}
{{- end -}}
{{- define "modes.args" -}}
  {{ if or (eq .mode "standalone") (eq .mode "ha") }}
          - |
            cp /etc/extra.hcl /tmp/storage.hcl;
            [ -n "${HOST_IP}" ] && sed -Ei "s|HOST_IP|${HOST_IP?}|g" /tmp/storage.hcl;
            /usr/local/bin/entry.sh server -config=/tmp/storage.hcl {{ .Values.server.extraArgs }}
   {{ else if eq .mode "dev" }}
          - |
            /usr/local/bin/entry.sh server -dev {{ .Values.server.extraArgs }}
  {{ end }}
{{- end -}}
{{/* An image by its key: what is asked is merged into the root, where the next one finds it. */}}
{{- define "modes.image" -}}
{{- $image := (index .Values.operator .key).image -}}
{{- $registry := default .Values.operator.defaultImageRegistry $image.registry -}}
{{- $repository := default .Values.operator.defaultImageRepository $image.repository -}}
{{- $tag := default .Values.operator.defaultImageTag $image.tag -}}
{{- if $image.digest -}}
{{- printf "%s/%s/%s@%s" $registry $repository $image.name $image.digest -}}
{{- else -}}
{{- printf "%s/%s/%s:%s%s" $registry $repository $image.name $tag (.tagSuffix | default "") -}}
{{- end -}}
{{- end -}}
{{- define "modes.imageMap" -}}
{{- range $version := .Values.operator.versions }}
{{ $version }}={{ include "modes.image" (merge $ (dict "key" "kafka" "tagSuffix" (printf "-kafka-%v" $version))) }}
{{- end }}
{{- end -}}
