{{- define "queue.name" -}}{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}{{- end }}
{{- define "queue.fullname" -}}
{{- if .Values.fullnameOverride }}{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}{{- .Release.Name | trunc 63 | trimSuffix "-" }}{{- else }}{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}{{- end }}
{{- end }}
{{- end }}
{{/* names of everything and values as texts are rendered once */}}
{{- define "queue.defaultValues" }}
{{- if not .defaultValuesSet }}
  {{- $name := include "queue.fullname" . }}
  {{- with .Values }}
    {{- $_ := set .config.jetstream.fileStore.pvc "name" (.config.jetstream.fileStore.pvc.name | default (printf "%s-js" $name)) }}
    {{- $_ := set .config.resolver.pvc "name" (.config.resolver.pvc.name | default (printf "%s-resolver" $name)) }}
    {{- $_ := set .config.websocket.ingress "name" (.config.websocket.ingress.name | default (printf "%s-ws" $name)) }}
    {{- $_ := set .configMap "name" (.configMap.name | default (printf "%s-config" $name)) }}
    {{- $_ := set .service "name" (.service.name | default $name) }}
    {{- $_ := set .statefulSet "name" (.statefulSet.name | default $name) }}
  {{- end }}
  {{- $values := get (include "tplYaml" (dict "doc" .Values "ctx" $) | fromJson) "doc" }}
  {{- $_ := set . "Values" $values }}
  {{- $hasContentType := false }}
  {{- if $values.config.websocket.ingress.enabled }}{{- $hasContentType = true }}{{- end }}
  {{- $_ := set . "hasWebsocket" $hasContentType }}
  {{- with .Values.config }}
    {{- $config := include "queue.loadMergePatch" (merge (dict "file" "config/config.yaml" "ctx" $) .) | fromYaml }}
    {{- $_ := set $ "config" $config }}
    {{- with include "queue.formatConfig" $config }}
    {{- $_ := set $ "configText" . }}
    {{- end }}
  {{- end }}
  {{- $_ := set . "defaultValuesSet" true }}
{{- end }}
{{- end }}

{{- define "queue.labels" -}}
{{- with .Values.global.labels -}}
{{ toYaml . }}
{{ end -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "queue.selectorLabels" . }}
{{- if .Chart.AppVersion }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}
{{- define "queue.selectorLabels" -}}
app.kubernetes.io/name: {{ include "queue.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: queue
{{- end }}
{{- define "queue.image" }}
{{- $image := printf "%s:%s" .repository .tag }}
{{- if or .registry .global.image.registry }}
{{- $image = printf "%s/%s" (.registry | default .global.image.registry) $image }}
{{- end -}}
image: {{ $image }}
{{- if or .pullPolicy .global.image.pullPolicy }}
imagePullPolicy: {{ .pullPolicy | default .global.image.pullPolicy }}
{{- end }}
{{- end }}
{{- define "queue.env" -}}
{{- range $k, $v := . }}
{{- if kindIs "string" $v }}
- name: {{ $k | quote }}
  value: {{ $v | quote }}
{{- else if kindIs "map" $v }}
- {{ merge (dict "name" $k) $v | toYaml | nindent 2 }}
{{- else }}
{{- fail (cat "env var" $k "must be string or map, got" (kindOf $v)) }}
{{- end }}
{{- end }}
{{- end }}

{{/* input: dict with file, ctx, and optional merge and patch; output: YAML */}}
{{- define "queue.loadMergePatch" -}}
{{- $doc := tpl (.ctx.Files.Get (printf "files/%s" .file)) .ctx | fromYaml | default dict -}}
{{- $doc = mergeOverwrite $doc (deepCopy (.merge | default dict)) -}}
{{- get (include "jsonpatch" (dict "doc" $doc "patch" (.patch | default list)) | fromJson ) "doc" | toYaml -}}
{{- end }}

{{/* a text with << >> is a number or a word without quotes */}}
{{- define "queue.formatConfig" -}}
  {{-
    (regexReplaceAll "\"<<\\s+(.*)\\s+>>\""
      (regexReplaceAll "\".*\\$include\": \"(.*)\",?" (include "toPrettyRawJson" .) "include ${1};")
    "${1}")
  -}}
{{- end -}}

{{- define "toPrettyRawJson" -}}
  {{- $_ := set . "__" "" }}{{- $_ := unset . "__" }}
  {{- toPrettyJson . | replace "\\u0026" "&" | replace "\\u003c" "<" | replace "\\u003e" ">" -}}
{{- end -}}

{{/* every text of a document that is marked with $tplYaml is a template */}}
{{- define "tplYaml" -}}
  {{- $patch := get (include "tplYamlItr" (dict "ctx" .ctx "parentKind" "" "parentPath" "" "path" "/" "value" .doc) | fromJson) "patch" -}}
  {{- include "jsonpatch" (dict "doc" .doc "patch" $patch) -}}
{{- end -}}
{{- define "tplYamlItr" -}}
  {{- $params := . -}}
  {{- $kind := kindOf $params.value -}}
  {{- $patch := list -}}
  {{- $joinPath := $params.path -}}
  {{- if eq $params.path "/" -}}{{- $joinPath = "" -}}{{- end -}}
  {{- $joinParentPath := $params.parentPath -}}
  {{- if eq $params.parentPath "/" -}}{{- $joinParentPath = "" -}}{{- end -}}
  {{- if eq $kind "slice" -}}
    {{- $iAdj := 0 -}}
    {{- range $i, $v := $params.value -}}
      {{- $iPath := printf "%s/%d" $joinPath (add $i $iAdj) -}}
      {{- $itrPatch := get (include "tplYamlItr" (dict "ctx" $params.ctx "parentKind" $kind "parentPath" $params.path "path" $iPath "value" $v) | fromJson) "patch" -}}
      {{- $itrLen := len $itrPatch -}}
      {{- if gt $itrLen 0 -}}
        {{- $patch = concat $patch $itrPatch -}}
        {{- if eq (get (index $itrPatch 0) "op") "remove" -}}{{- $iAdj = add $iAdj (sub $itrLen 2) -}}{{- end -}}
      {{- end -}}
    {{- end -}}
  {{- else if eq $kind "map" -}}
    {{- if and (eq (len $params.value) 1) (or (hasKey $params.value "$tplYaml") (hasKey $params.value "$tplYamlSpread")) -}}
      {{- $tpl := get $params.value "$tplYaml" -}}
      {{- $spread := false -}}
      {{- if hasKey $params.value "$tplYamlSpread" -}}
        {{- if eq $params.path "/" -}}{{- fail "cannot $tplYamlSpread on root object" -}}{{- end -}}
        {{- $tpl = get $params.value "$tplYamlSpread" -}}
        {{- $spread = true -}}
      {{- end -}}
      {{- $res := tpl $tpl $params.ctx -}}
      {{- $res = get (fromYaml (tpl "tpl: {{ nindent 2 .tpl }}" (merge (dict "tpl" $res) $params.ctx))) "tpl" -}}
      {{- if eq $spread false -}}
        {{- $patch = append $patch (dict "op" "replace" "path" $params.path "value" $res) -}}
      {{- else -}}
        {{- $resKind := kindOf $res -}}
        {{- if and (ne $resKind "invalid") (ne $resKind $params.parentKind) -}}{{- fail (cat "can only $tplYamlSpread slice onto a slice or map onto a map; attempted to spread" $resKind "on" $params.parentKind "at path" $params.path) -}}{{- end -}}
        {{- $patch = append $patch (dict "op" "remove" "path" $params.path) -}}
        {{- if eq $resKind "invalid" -}}
        {{- else if eq $resKind "slice" -}}
          {{- range $v := reverse $res -}}
            {{- $patch = append $patch (dict "op" "add" "path" $params.path "value" $v) -}}
          {{- end -}}
        {{- else -}}
          {{- range $k, $v := $res -}}
            {{- $kPath := replace "~" "~0" $k -}}
            {{- $kPath = replace "/" "~1" $kPath -}}
            {{- $kPath = printf "%s/%s" $joinParentPath $kPath -}}
            {{- $patch = append $patch (dict "op" "add" "path" $kPath "value" $v) -}}
          {{- end -}}
        {{- end -}}
      {{- end -}}
    {{- else -}}
      {{- range $k, $v := $params.value -}}
        {{- $kPath := replace "~" "~0" $k -}}
        {{- $kPath = replace "/" "~1" $kPath -}}
        {{- $kPath = printf "%s/%s" $joinPath $kPath -}}
        {{- $itrPatch := get (include "tplYamlItr" (dict "ctx" $params.ctx "parentKind" $kind "parentPath" $params.path "path" $kPath "value" $v) | fromJson) "patch" -}}
        {{- if gt (len $itrPatch) 0 -}}{{- $patch = concat $patch $itrPatch -}}{{- end -}}
      {{- end -}}
    {{- end -}}
  {{- end -}}
  {{- toJson (dict "patch" $patch) -}}
{{- end -}}
