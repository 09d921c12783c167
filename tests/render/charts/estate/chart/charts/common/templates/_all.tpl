{{/* Library helpers. */}}
{{- define "common.names.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- define "common.names.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $release := regexReplaceAll "(-?[^a-z\\d\\-])+-?" (lower .Release.Name) "-" -}}
{{- ternary $release (printf "%s-%s" $release $name) (contains $name $release) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- define "common.names.dependency" -}}
{{- $v := .chartValues | default dict -}}
{{- if $v.fullnameOverride -}}{{ $v.fullnameOverride }}{{- else -}}
{{- printf "%s-%s" .context.Release.Name (default .chartName $v.nameOverride) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- define "common.tpl.render" -}}
{{- $value := typeIs "string" .value | ternary .value (.value | toYaml) }}
{{- if contains "{{" (toJson .value) }}
  {{- if .scope }}
      {{- tpl (cat "{{- with $.RelativeScope -}}" $value "{{- end }}") (merge (dict "RelativeScope" .scope) .context) }}
  {{- else }}
    {{- tpl $value .context }}
  {{- end }}
{{- else }}
    {{- $value }}
{{- end }}
{{- end -}}
{{- define "common.tpl.merge" -}}
{{- $dst := dict -}}
{{- range .values -}}
{{- $dst = include "common.tpl.render" (dict "value" . "context" $.context "scope" $.scope) | fromYaml | merge $dst -}}
{{- end -}}
{{ $dst | toYaml }}
{{- end -}}
{{- define "common.labels" -}}
{{- if and (hasKey . "custom") (hasKey . "context") -}}
{{- $default := dict "app.kubernetes.io/name" (include "common.names.name" .context) "helm.sh/chart" (printf "%s-%s" .context.Chart.Name .context.Chart.Version | replace "+" "_") "app.kubernetes.io/instance" .context.Release.Name "app.kubernetes.io/managed-by" .context.Release.Service -}}
{{- with .context.Chart.AppVersion -}}
{{- $_ := set $default "app.kubernetes.io/version" (. | replace "+" "_") -}}
{{- end -}}
{{ template "common.tpl.merge" (dict "values" (list .custom $default) "context" .context) }}
{{- else -}}
app.kubernetes.io/name: {{ include "common.names.name" . }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}
{{- end -}}
{{- define "common.image" -}}
{{- $registry := .image.registry -}}
{{- if .global -}}{{- if .global.imageRegistry -}}{{- $registry = .global.imageRegistry -}}{{- end -}}{{- end -}}
{{- $sep := ternary "@" ":" (not (empty .image.digest)) -}}
{{- $term := ternary (.image.digest | toString) (default .chart.AppVersion .image.tag | toString) (not (empty .image.digest)) -}}
{{- with $registry -}}{{ printf "%s/" . }}{{- end -}}{{ printf "%s%s%s" .image.repository $sep $term }}
{{- end -}}
{{- define "common.kubeVersion" -}}
{{- default (default .Capabilities.KubeVersion.Version .Values.kubeVersion) ((.Values.global).kubeVersion) -}}
{{- end -}}
{{- define "common.ingress.apiVersion" -}}
{{- if (.Values.ingress).apiVersion -}}{{ .Values.ingress.apiVersion }}
{{- else if semverCompare "<1.19-0" (include "common.kubeVersion" .) -}}networking.k8s.io/v1beta1
{{- else -}}networking.k8s.io/v1{{- end -}}
{{- end -}}
{{- define "common.secret.value" -}}
{{- $existing := (lookup "v1" "Secret" (.context.Release.Namespace) .secret).data -}}
{{- $password := "" -}}
{{- $wanted := "" -}}
{{- range $path := .providedValues -}}
  {{- if not $wanted -}}
  {{- $here := $.context.Values -}}
  {{- range splitList "." $path -}}
    {{- if kindIs "map" $here -}}{{- $here = index $here . -}}{{- else -}}{{- $here = "" -}}{{- end -}}
  {{- end -}}
  {{- $wanted = $here | default "" | toString -}}
  {{- end -}}
{{- end -}}
{{- if $existing -}}
  {{- if hasKey $existing .key -}}{{- $password = index $existing .key | b64dec -}}
  {{- else if not (eq .failOnNew false) -}}{{- printf "\nPASSWORDS ERROR: no key %s\n" .key | fail -}}{{- end -}}
{{- else if $wanted -}}
  {{- $password = $wanted -}}
{{- else if .strong -}}
  {{- $sub := list (randAlpha 1) (randNumeric 1) | join "_" -}}
  {{- $password = randAscii 5 | regexReplaceAllLiteral "\\W" "@" | substr 5 .length | cat $sub | nospace | shuffle -}}
{{- else -}}
  {{- $password = randAlphaNum (int .length) -}}
{{- end -}}
{{- if not .skipQuote -}}{{- $password = $password | b64enc | quote -}}{{- end -}}
{{- printf "%s" $password -}}
{{- end -}}
{{- define "common.resources.preset" -}}
{{- $presets := dict
  "nano" (dict "requests" (dict "cpu" "100m" "memory" "128Mi") "limits" (dict "cpu" "150m"))
  "small" (dict "requests" (dict "cpu" "500m" "memory" "512Mi"))
  "2xlarge" (dict "requests" (dict "cpu" "1.0" "memory" "3072Mi") "limits" (dict "cpu" "6.0"))
 }}
{{- if hasKey $presets .type -}}
{{- index $presets .type | toYaml -}}
{{- else -}}
{{- printf "ERROR: Preset key '%s' invalid. Allowed values are %s" .type (join "," (keys $presets | sortAlpha)) | fail -}}
{{- end -}}
{{- end -}}
{{- define "common.affinity" -}}
{{- $extra := default (list) .extra -}}
preferredDuringSchedulingIgnoredDuringExecution:
  - podAffinityTerm:
      labelSelector:
        matchLabels: {{- (include "common.labels" (dict "custom" (default dict .custom) "context" .context)) | nindent 10 }}
          {{- if not (empty .component) }}
          {{ printf "app.kubernetes.io/component: %s" .component }}
          {{- end }}
          {{- range $key, $value := .extraMatch }}
          {{ $key }}: {{ $value | quote }}
          {{- end }}
      topologyKey: {{ default "kubernetes.io/hostname" .topologyKey }}
    weight: 1
  {{- range $extra }}
  - podAffinityTerm:
      topologyKey: {{ .topologyKey | default "kubernetes.io/hostname" }}
    weight: {{ .weight | default 1 -}}
  {{- end -}}
{{- end -}}
{{- define "common.warnings.rolling" -}}
{{- if and (contains "corp/" .repository) (not (.tag | toString | regexFind "-r\\d+$|sha256:")) }}
WARNING: Rolling tag detected ({{ .repository }}:{{ .tag }}).
{{- end }}
{{- end -}}
