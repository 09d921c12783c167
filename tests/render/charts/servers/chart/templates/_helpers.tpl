{{/* Environment variables out of nested values. */}}
{{- define "servers.toEnvVars" -}}
{{- $prefix := "" -}}
{{- if .prefix }}{{- $prefix = printf "%s_" .prefix }}{{ end -}}
{{- range $key, $value := .values -}}
{{- $name := $key | snakecase | upper -}}
{{- if kindIs "map" $value -}}
{{- dict "prefix" (printf "%s%s" $prefix $name) "values" $value "isSecret" $.isSecret | include "servers.toEnvVars" -}}
{{- else -}}
{{- if $.isSecret }}
{{ $prefix }}{{ $name }}: {{ $value | toString | b64enc }}
{{- else if kindIs "slice" $value }}
{{ $prefix }}{{ $name }}: {{ join "," $value | quote }}
{{- else }}
{{ $prefix }}{{ $name }}: {{ $value | quote }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- define "servers.ini" -}}
{{- $sections := dict "generic" list -}}
{{- range $section, $value := .Values.ini }}
{{- if kindIs "map" $value }}
{{- $lines := list }}
{{- range $key := keys $value | sortAlpha }}
{{- $found := index $value $key }}
{{- if kindIs "map" $found }}{{ fail (printf "%s.%s: a section has no maps" $section $key) }}{{ end }}
{{- $lines = append $lines (printf "%s=%s" $key (tpl (toString $found) $)) }}
{{- end }}
{{- $_ := set $sections $section ($lines | join "\n") }}
{{- else }}
{{- $_ := set $sections "generic" (append $sections.generic (printf "%s=%v" $section $value)) }}
{{- end }}
{{- end }}
{{- $_ := set $sections "generic" (join "\n" $sections.generic) }}
{{- toYaml $sections }}
{{- end -}}
{{- define "servers.url" -}}
{{- if .Values.controller.url -}}{{ .Values.controller.url }}
{{- else if .Values.controller.host -}}
{{- if .Values.controller.tls }}{{ default "https" .Values.controller.protocol }}{{ else }}{{ default "http" .Values.controller.protocol }}{{ end }}://{{ tpl .Values.controller.host . }}{{ default "" .Values.controller.uriPrefix }}
{{- else -}}
http://{{ .Release.Name }}:8080{{ default "" .Values.controller.uriPrefix }}
{{- end -}}
{{- end -}}
{{- define "servers.agentVolumes" }}
{{- range $index, $volume := .Values.agent.volumes }}
  {{- if (eq $volume.type "ConfigMap") }}
  - configMapVolume:
  {{- else if (eq $volume.type "EmptyDir") }}
  - emptyDirVolume:
  {{- else }}
  - {{ $volume.type | lower }}Volume:
  {{- end }}
  {{- range $key, $value := $volume }}
    {{- if not (eq $key "type") }}
      {{ $key }}: {{ if kindIs "string" $value }}{{ tpl $value $ | quote }}{{ else }}{{ $value }}{{ end }}
    {{- end }}
  {{- end }}
{{- end }}
{{- end }}
{{- define "servers.podTemplateId" -}}
{{- $text := include "servers.podTemplate" . -}}
id: {{ sha256sum (toYaml $text) }}
{{- end -}}
{{- define "servers.podTemplate" -}}
- name: "{{ .Values.agent.image.repository }}"
  containers:
  - alwaysPullImage: {{ .Values.agent.alwaysPull | default false }}
    args: {{ .Values.agent.args | default "^${computer.jnlpmac}" | replace "$" "^$" | quote }}
    envVars:
      - envVar:
          key: URL
          value: "http://{{ .Release.Name }}.{{ .Release.Namespace }}.svc:8080{{ default "/" .Values.controller.uriPrefix }}"
    resourceLimitCpu: {{ (.Values.agent.resources.limits).cpu | default "none" }}
    resourceRequestCpu: {{ .Values.agent.resources.requests.cpu }}
  {{- if .Values.agent.volumes }}
  volumes:
  {{- include "servers.agentVolumes" . | nindent 2 }}
  {{- end }}
  idleMinutes: {{ .Values.agent.idle | default 0 }}
  yamlMergeStrategy: {{ .Values.agent.merge | default "override" | quote }}
  yaml: |-
    {{ tpl (trim .Values.agent.yamlTemplate) . | nindent 4 | trim }}
{{- end -}}
{{/* Arguments out of nested values: --a.b.c=d */}}
{{- define "servers.args" -}}
{{- $path := .path -}}
{{- range $key, $value := .content -}}
{{- $at := ternary (printf "%s.%v" $path $key) (toString $key) (ne $path "") -}}
{{- if kindIs "map" $value }}
{{- if $value }}{{ include "servers.args" (dict "path" $at "content" $value) }}{{ else }}
- --{{ $at }}=true{{ end }}
{{- else if kindIs "slice" $value }}
{{- range $index, $item := $value }}
{{- if kindIs "map" $item }}{{ include "servers.args" (dict "path" (printf "%s[%d]" $at $index) "content" $item) }}{{ else }}
- --{{ $at }}[{{ $index }}]={{ $item }}{{ end }}
{{- end }}
{{- else }}
- --{{ $at }}={{ $value }}
{{- end }}
{{- end -}}
{{- end -}}
{{- define "servers.reserved" -}}
{{- if has (index . 0) (list "default" "kube-system" "second") }}
{{- fail (cat "The name" (index . 0) "set for key" (index . 1) "is reserved.") }}
{{- end }}
{{- end -}}
