{{- define "common.tplvalues.render" -}}
{{- $value := typeIs "string" .value | ternary .value (.value | toYaml) }}
{{- if contains "{{" (toJson .value) }}
  {{- if .scope }}{{- tpl (cat "{{- with $.RelativeScope -}}" $value "{{- end }}") (merge (dict "RelativeScope" .scope) .context) }}
  {{- else }}{{- tpl $value .context }}{{- end }}
{{- else }}{{- $value }}{{- end }}
{{- end -}}
{{- define "common.tplvalues.merge" -}}
{{- $dst := dict -}}
{{- range .values -}}
{{- $dst = include "common.tplvalues.render" (dict "value" . "context" $.context "scope" $.scope) | fromYaml | merge $dst -}}
{{- end -}}
{{ $dst | toYaml }}
{{- end -}}
{{- define "common.images.image" -}}
{{- $registryName := default .imageRoot.registry ((.global).imageRegistry) -}}
{{- $repositoryName := .imageRoot.repository -}}
{{- $separator := ":" -}}
{{- $termination := .imageRoot.tag | toString -}}
{{- if not .imageRoot.tag }}{{- if .chart }}{{- $termination = .chart.AppVersion | toString -}}{{- end -}}{{- end -}}
{{- if .imageRoot.digest }}{{- $separator = "@" -}}{{- $termination = .imageRoot.digest | toString -}}{{- end -}}
{{- if $registryName }}{{- printf "%s/%s%s%s" $registryName $repositoryName $separator $termination -}}{{- else -}}{{- printf "%s%s%s" $repositoryName $separator $termination -}}{{- end -}}
{{- end -}}
{{- define "common.labels" -}}
{{- if and (hasKey . "customLabels") (hasKey . "context") -}}
{{- $default := dict "app.kubernetes.io/name" "n" "helm.sh/chart" (printf "%s-%s" .context.Chart.Name .context.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") "app.kubernetes.io/managed-by" .context.Release.Service -}}
{{- with .context.Chart.AppVersion -}}{{- $_ := set $default "app.kubernetes.io/version" . -}}{{- end -}}
{{ template "_common.merge" (list (fromYaml (toYaml .customLabels)) $default) }}
{{- end -}}{{- end -}}
{{- define "_common.merge" -}}{{ merge (index . 0) (index . 1) | toYaml }}{{- end -}}
{{- define "jenkins.casc" -}}
{{- range $k, $v := . }}
{{ $k }}: {{ if kindIs "map" $v }}{{ include "jenkins.casc" $v | trim | nindent 2 }}{{ else if kindIs "slice" $v }}{{ range $v }}
- {{ . | quote }}{{ end }}{{ else }}{{ $v | quote }}{{ end }}
{{- end }}
{{- end }}
{{- define "toml" -}}{{ toToml . | trim }}{{- end -}}
{{- define "hocon" -}}
{{- range $k, $v := . }}{{ if kindIs "map" $v }}{{ $k }} { {{- include "hocon" $v | nindent 2 }}
}
{{ else }}{{ $k }} = {{ $v | toJson }}
{{ end }}{{ end }}{{- end -}}
{{- define "flat" -}}
{{- $p := index . 0 }}{{ range $k, $v := index . 1 }}{{ $n := ternary (printf "%s.%s" $p $k) $k (ne $p "") }}{{ if kindIs "map" $v }}{{ include "flat" (list $n $v) }}{{ else if kindIs "slice" $v }}{{ $n }}={{ join "," $v }};{{ else }}{{ $n }}={{ $v }};{{ end }}{{ end }}
{{- end -}}
