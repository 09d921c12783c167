{{- define "stores.name" -}}{{ .Chart.Name | trunc 63 }}{{- end }}
{{- define "stores.parent" -}}{{ printf "%s/%s" .Release.Name .Chart.Name }}:{{ template "stores.shared" . }}{{- end }}
{{- define "stores.shared" }}from parent{{ end }}
{{- define "kit.block" }}
apiVersion: v1
kind: Secret
metadata: {name: {{ .Chart.Name }}-block-of-parent}
stringData: {zone: {{ .Values.global.zone }}, size: {{ .Values.size }}, nested: {{ .Values.nested | toJson | quote }}, parent: {{ include "stores.parent" . | quote }}}
{{- end }}
{{- define "stores.heap" -}}
{{- $limit := dig "limits" "memory" "1Gi" .Values.resources | toString -}}
{{- $n := regexFind "^[0-9]+(\\.[0-9]+)?" $limit | float64 -}}
{{- $unit := regexReplaceAll "^[0-9.]+" $limit "" -}}
{{- $factor := get (dict "Ki" 0.0009765625 "Mi" 1 "Gi" 1024 "G" 953.674) $unit | default 1 -}}
{{- $mb := mulf $n $factor 0.5 | floor | int -}}
-Xms{{ $mb }}m -Xmx{{ min $mb 31744 }}m
{{- end -}}
{{- define "stores.mode" -}}
{{- if eq (.Values.ha.enabled | toString) "-" -}}{{ $_ := set . "mode" "standalone" }}{{- else if eq (.Values.ha.enabled | toString) "true" -}}{{ $_ := set . "mode" "ha" }}{{- else }}{{ $_ := set . "mode" "" }}{{ end -}}
{{- end -}}
{{- define "stores.affinity" -}}
{{- if and (ne .mode "dev") .Values.server.affinity }}
affinity:
  {{ $tp := typeOf .Values.server.affinity }}
  {{- if eq $tp "string" }}
    {{- tpl .Values.server.affinity . | nindent 2 | trim }}
  {{- else }}
    {{- toYaml .Values.server.affinity | nindent 2 }}
  {{- end }}
{{ end }}
{{- end -}}
{{- define "stores.loadMergePatch" -}}
{{- $doc := .config | deepCopy | default dict -}}
{{- $doc = mergeOverwrite $doc (.merge | default dict) -}}
{{- range $i, $p := .patch | default list }}
{{- $segs := rest (splitList "/" $p.path) }}{{ $last := last $segs | replace "~1" "/" | replace "~0" "~" }}
{{- $at := $doc }}{{ range initial $segs }}{{ $k := replace "~1" "/" . }}{{ if kindIs "slice" $at }}{{ $at = index $at (int $k) }}{{ else }}{{ $at = index $at $k }}{{ end }}{{ end }}
{{- if eq $p.op "remove" }}{{ $_ := unset $at $last }}
{{- else if eq $p.op "test" }}{{ if kindIs "slice" $at }}{{ if not (deepEqual (index $at (int $last)) $p.value) }}{{ fail (printf "patch %d: %v is not %v" $i (index $at (int $last)) $p.value) }}{{ end }}{{ end }}
{{- else if kindIs "slice" $at }}
{{- $parent := $doc }}{{ $name := first $segs }}
{{- if eq $last "-" }}{{ $_ := set $parent $name (append $at $p.value) }}{{ else if eq $p.op "replace" }}{{ $new := concat (slice $at 0 (int $last)) (list $p.value) (slice $at (add1 (int $last) | int)) }}{{ $_ := set $parent $name $new }}{{ end }}
{{- else }}{{ $_ := set $at $last $p.value }}{{ end }}
{{- end }}
{{- toPrettyJson $doc -}}
{{- end -}}
