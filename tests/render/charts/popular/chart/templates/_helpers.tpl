{{- define "popular.fullname" -}}{{ printf "%s-%s" .Release.Name (default .Chart.Name .Values.nameOverride) | trunc 63 | trimSuffix "-" }}{{- end }}
{{- define "popular.meta" -}}
namespace: {{ .Release.Namespace }}
labels:
  helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
  app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}
{{- define "popular.logs.storage" -}}
type: {{ .Values.logs.storage.type }}
bucketnames: {{ tpl .Values.logs.storage.bucket . }}
{{- end }}
{{- define "popular.calculatedConfig" -}}
{{ tpl (mergeOverwrite (tpl .Values.logs.config . | fromYaml) .Values.logs.structuredConfig | toYaml) . }}
{{- end }}

{{- /* a document loaded, merged and patched as RFC 6902 says */}}
{{- define "popular.loadMergePatch" -}}
{{- $doc := tpl (.ctx.Files.Get (printf "files/%s" .file)) .ctx | fromYaml | default dict -}}
{{- $doc = mergeOverwrite $doc (deepCopy (.merge | default dict)) -}}
{{- get (include "popular.jsonpatch" (dict "doc" $doc "patch" (.patch | default list)) | fromJson ) "doc" | toYaml -}}
{{- end }}
{{- define "popular.jsonpatch" -}}
{{- $params := fromJson (toJson .) -}}
{{- $patches := $params.patch -}}
{{- $docContainer := pick $params "doc" -}}
{{- range $patch := $patches -}}
  {{- if not (hasKey $patch "op") -}}{{- fail "patch is missing op key" -}}{{- end -}}
  {{- if and (ne $patch.op "add") (ne $patch.op "remove") (ne $patch.op "replace") -}}
    {{- fail (cat "patch has invalid op" $patch.op) -}}
  {{- end -}}
  {{- $path := $patch.path -}}
  {{- if not (hasPrefix "/" $path) -}}{{- fail (printf "path %q must start with /" $path) -}}{{- end -}}
  {{- $pathArray := splitList "/" $path | rest -}}
  {{- $walk := dict "val" $docContainer.doc "parents" list -}}
  {{- range $i, $seg := initial $pathArray -}}
    {{- $key := $seg | replace "~1" "/" | replace "~0" "~" -}}
    {{- if kindIs "slice" $walk.val -}}
      {{- if not (regexMatch "^[0-9]+$" $key) -}}{{- fail (printf "%s is not an index" $key) -}}{{- end -}}
      {{- $_ := set $walk "val" (index $walk.val (atoi $key)) -}}
    {{- else if not (hasKey $walk.val $key) -}}
      {{- fail (printf "path does not exist: %s at %d" $path $i) -}}
    {{- else -}}
      {{- $_ := set $walk "val" (get $walk.val $key) -}}
    {{- end -}}
  {{- end -}}
  {{- $last := last $pathArray | replace "~1" "/" | replace "~0" "~" -}}
  {{- if kindIs "map" $walk.val -}}
    {{- if eq $patch.op "remove" -}}{{- $_ := unset $walk.val $last -}}{{- else -}}{{- $_ := set $walk.val $last $patch.value -}}{{- end -}}
  {{- else -}}
    {{- $at := ternary (len $walk.val) (int $last) (eq $last "-") -}}
    {{- $new := concat (slice $walk.val 0 $at) (list $patch.value) (slice $walk.val $at) -}}
    {{- $_ := set $docContainer "note" (printf "list of %d at %v" (len $new) $at) -}}
  {{- end -}}
{{- end -}}
{{- $docContainer | toJson -}}
{{- end }}
{{- define "popular.collector.base" -}}
{{- $processed := deepCopy .Values.collector.config | mustMergeOverwrite (dict "processors" (dict "batch" dict)) -}}
{{- toYaml $processed -}}
{{- end }}
{{- define "popular.collector.withLogs" -}}
{{- $config := mustMergeOverwrite (include "popular.collector.logsConfig" .Values | fromYaml) .config }}
{{- $_ := set $config.service.pipelines.logs "receivers" (append $config.service.pipelines.logs.receivers "filelog" | uniq) }}
{{- $config | toYaml }}
{{- end }}
{{- define "popular.collector.logsConfig" -}}
receivers:
  filelog:
    include: [ /var/log/pods/*/*/*.log ]
    {{- if .Values.collector.presets.logs.storeCheckpoints }}
    storage: file_storage
    {{- end }}
    operators:
      - {type: container, id: '{{ .Release.Name }}'}
{{- end }}
{{- define "popular.ctx" -}}
{{- $ctx := dict "helm" . "extraLabels" (dict "x" "y") "style" (default "managed" .style) -}}
{{- include "popular.ctx.name" $ctx | fromYaml | toJson -}}
{{- end }}
{{- define "popular.ctx.name" -}}
{{- with $Values := .helm.Values -}}
name: {{ list $.helm.Release.Name "vm" | join "-" }}
labels: {{ merge (dict "style" $.style) $.extraLabels | toYaml | nindent 2 }}
{{- end -}}
{{- end }}
{{- define "popular.compat" -}}
{{- $v := default .Capabilities.KubeVersion.GitVersion .Values.kubeTargetVersionOverride -}}
{{- semverCompare ">=1.25.0-0 <9.9.9-9" $v -}}
{{- end }}
{{- define "popular.check.a" -}}
{{- if .Values.checks.a }}
a:
    a must be empty, not {{ .Values.checks.a | quote }}.
{{- end }}
{{- end }}
{{- define "popular.check.b" -}}
{{- range $i, $c := .Values.checks.b.c }}
b: item {{ $i }} ({{ $c.name | default "?" }}) is wrong
{{- end }}
{{- end }}
