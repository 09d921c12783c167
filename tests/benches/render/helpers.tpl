{{- define "shop.fullname" -}}
{{- if contains .root.Chart.Name .root.Release.Name -}}
{{- printf "%s-%s" .root.Release.Name .name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s-%s" .root.Release.Name .root.Chart.Name .name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- define "shop.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .name }}
{{- end -}}
{{- define "shop.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{ include "shop.selector" . }}
{{- with .root.Chart.AppVersion }}
app.kubernetes.io/version: {{ . | quote }}
{{- end }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}
{{- define "shop.image" -}}
{{- $image := mergeOverwrite (deepCopy .root.Values.image) (.component.image | default dict) -}}
{{- printf "%s/%s:%s" $image.registry ($image.repository | default .name) ($image.tag | default .root.Chart.AppVersion) -}}
{{- end -}}
{{- define "shop.render" -}}
{{- $value := typeIs "string" .value | ternary .value (.value | toYaml) -}}
{{- if contains "{{" $value -}}{{ tpl $value .root }}{{- else -}}{{ $value }}{{- end -}}
{{- end -}}
