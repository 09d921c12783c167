{{/* RFC 6902: input dict with doc and patch, output JSON of a dict with doc */}}
{{- define "jsonpatch" -}}
  {{- $params := fromJson (toJson .) -}}
  {{- $patches := $params.patch -}}
  {{- $docContainer := pick $params "doc" -}}
  {{- range $patch := $patches -}}
    {{- if not (hasKey $patch "op") -}}{{- fail "patch is missing op key" -}}{{- end -}}
    {{- if and (ne $patch.op "add") (ne $patch.op "remove") (ne $patch.op "replace") (ne $patch.op "copy") (ne $patch.op "move") (ne $patch.op "test") -}}{{- fail (cat "patch has invalid op" $patch.op) -}}{{- end -}}
    {{- if not (hasKey $patch "path") -}}{{- fail "patch is missing path key" -}}{{- end -}}
    {{- if and (or (eq $patch.op "add") (eq $patch.op "replace") (eq $patch.op "test")) (not (hasKey $patch "value")) -}}{{- fail (cat "patch with op" $patch.op "is missing value key") -}}{{- end -}}
    {{- $opPathKeys := list "path" -}}
    {{- if or (eq $patch.op "copy") (eq $patch.op "move") -}}
      {{- if not (hasKey $patch "from") -}}{{- fail (cat "patch with op" $patch.op "is missing from key") -}}{{- end -}}
      {{- $opPathKeys = append $opPathKeys "from" -}}
    {{- end -}}
    {{- $reversed := dict -}}
    {{- range $opPathKey := reverse $opPathKeys -}}
      {{- $obj := $docContainer -}}
      {{- $key := "doc" -}}
      {{- $lastMap := dict "root" $obj -}}
      {{- $lastKey := "root" -}}
      {{- $paths := (splitList "/" (get $patch $opPathKey)) -}}
      {{- $firstPath := index $paths 0 -}}
      {{- if ne (index $paths 0) "" -}}{{- fail (cat "invalid" $opPathKey (get $patch $opPathKey) "must be empty string or start with /") -}}{{- end -}}
      {{- $paths = slice $paths 1 -}}
      {{- range $path := $paths -}}
        {{- $path = replace "~1" "/" $path -}}
        {{- $path = replace "~0" "~" $path -}}
        {{- if kindIs "slice" $obj -}}
          {{- $mapObj := dict -}}
          {{- range $i, $v := $obj -}}{{- $_ := set $mapObj (toString $i) $v -}}{{- end -}}
          {{- $obj = $mapObj -}}
          {{- $_ := set $lastMap $lastKey $obj -}}
          {{- $_ := set $reversed (toString (len (keys $reversed))) (dict "lastMap" $lastMap "lastKey" $lastKey) -}}
        {{- end -}}
        {{- if not (kindIs "map" $obj) -}}
          {{- if not (hasKey $obj $key) -}}{{- fail (cat "key" $key "does not exist for path" (get $patch $opPathKey)) -}}{{- end -}}
        {{- end -}}
        {{- if kindIs "map" $obj -}}
          {{- if and (hasKey $obj $key) (ne $key "doc") }}{{ end -}}
        {{- end -}}
        {{- $lastMap = (get (dict "m" $lastMap) "m") -}}
        {{- if eq $lastKey "root" -}}
          {{- $lastMap = $docContainer -}}{{- $lastKey = "doc" -}}
          {{- $obj = get $lastMap $lastKey -}}
          {{- if kindIs "slice" $obj -}}{{- $mapObj := dict -}}{{- range $i, $v := $obj -}}{{- $_ := set $mapObj (toString $i) $v -}}{{- end -}}{{- $_ := set $lastMap $lastKey $mapObj -}}{{- $obj = $mapObj -}}{{- end -}}
          {{- $key = $path -}}
        {{- else -}}
          {{- $key = $path -}}
        {{- end -}}
        {{- if ne $path (last $paths | replace "~1" "/" | replace "~0" "~") -}}
          {{- if not (hasKey $obj $key) -}}{{- fail (cat "key" $key "does not exist for path" (get $patch $opPathKey)) -}}{{- end -}}
          {{- $lastMap = $obj -}}{{- $lastKey = $key -}}
          {{- $obj = get $obj $key -}}
        {{- end -}}
      {{- end -}}
      {{- if eq $opPathKey "path" -}}
        {{- if eq $patch.op "remove" -}}
          {{- if not (hasKey $obj $key) -}}{{- fail (cat "key" $key "does not exist for path" $patch.path) -}}{{- end -}}
          {{- $_ := unset $obj $key -}}
        {{- else if eq $patch.op "test" -}}
          {{- if not (deepEqual $patch.value (get $obj $key)) -}}{{- fail (cat "test failed, expected" (toJson $patch.value) "but got" (toJson (get $obj $key))) -}}{{- end -}}
        {{- else -}}
          {{- if and (eq $patch.op "replace") (not (hasKey $obj $key)) -}}{{- fail (cat "key" $key "does not exist for path" $patch.path) -}}{{- end -}}
          {{- if eq $key "-" -}}{{- $key = toString (len $obj) -}}{{- end -}}
          {{- $_ := set $obj $key (deepCopy $patch.value) -}}
        {{- end -}}
      {{- else -}}
        {{- if not (hasKey $obj $key) -}}{{- fail (cat "key" $key "does not exist for from" $patch.from) -}}{{- end -}}
        {{- $_ := set $patch "value" (deepCopy (index $obj $key)) -}}
        {{- if eq $patch.op "move" -}}{{- $_ := unset $obj $key -}}{{- end -}}
      {{- end -}}
    {{- end -}}
  {{- end -}}
  {{- $doc := get (include "jsonpatch.lists" (dict "v" $docContainer.doc "seen" $patches) | fromJson) "v" -}}
  {{- toJson (dict "doc" $doc) -}}
{{- end -}}
{{/* maps whose keys are 0, 1, 2 ... become lists again */}}
{{- define "jsonpatch.lists" -}}
  {{- $v := .v -}}
  {{- if kindIs "map" $v -}}
    {{- $n := len $v -}}{{- $isList := gt $n 0 -}}
    {{- range $i := until $n -}}{{- if not (hasKey $v (toString $i)) -}}{{- $isList = false -}}{{- break -}}{{- end -}}{{- end -}}
    {{- if $isList -}}
      {{- $out := list -}}
      {{- range $i := until $n -}}{{- $out = append $out (get (include "jsonpatch.lists" (dict "v" (index $v (toString $i))) | fromJson) "v") -}}{{- end -}}
      {{- toJson (dict "v" $out) -}}
    {{- else -}}
      {{- $out := dict -}}
      {{- range $k, $x := $v -}}{{- $_ := set $out $k (get (include "jsonpatch.lists" (dict "v" $x) | fromJson) "v") -}}{{- end -}}
      {{- toJson (dict "v" $out) -}}
    {{- end -}}
  {{- else if kindIs "slice" $v -}}
    {{- $out := list -}}
    {{- range $v -}}{{- $out = append $out (get (include "jsonpatch.lists" (dict "v" .) | fromJson) "v") -}}{{- end -}}
    {{- toJson (dict "v" $out) -}}
  {{- else -}}
    {{- toJson (dict "v" $v) -}}
  {{- end -}}
{{- end -}}
