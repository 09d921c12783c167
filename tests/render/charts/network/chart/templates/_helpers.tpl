{{- define "render" -}}
  {{- if typeIs "string" .value }}{{- tpl .value .context }}{{- else }}{{- tpl (.value | toYaml) .context }}{{- end }}
{{- end -}}
{{- define "image" -}}
{{- $digest := (.useDigest | default false) | ternary (printf "@%s" .digest) "" -}}
{{- if .override -}}{{- printf "%s" .override -}}{{- else -}}{{- printf "%s:%s%s" .repository (.tag | toString) $digest -}}{{- end -}}
{{- end -}}
{{- define "operator.cloud" -}}{{- $c := "generic" -}}{{- if eq .Values.ipam.mode "eni" }}{{ $c = "aws" }}{{ else if has .Values.ipam.mode (list "azure" "alibabacloud") }}{{ $c = .Values.ipam.mode }}{{ end -}}{{- $c -}}{{- end -}}
{{- define "ca.setup" -}}
  {{- if not .commonCA -}}
    {{- $ca := "" -}}
    {{- $crt := (.Values.tls | default dict).ca | default dict -}}
    {{- if and $crt.cert $crt.key -}}
      {{- $ca = buildCustomCert $crt.cert $crt.key -}}
    {{- else -}}
      {{- with lookup "v1" "Secret" .Release.Namespace "cilium-ca" -}}
        {{- $ca = buildCustomCert (index .data "ca.crt") (index .data "ca.key") -}}
      {{- else -}}
        {{- $ca = genCA "Cilium CA" (.Values.hubble.tls.auto.certValidityDuration | int) -}}
      {{- end -}}
    {{- end -}}
    {{- $_ := set (set . "commonCA" $ca) "commonCASecretName" "cilium-ca" -}}
  {{- end -}}
{{- end -}}
{{- define "cidrs" -}}{{- range $i, $c := splitList "," . -}}{{- if $i }},{{ end }}{{ trim $c }}{{- end -}}{{- end -}}
{{- define "stringOrBool" -}}{{- if not (kindIs "bool" .) }}{{ fail (printf "must be bool, is %s: %v" (kindOf .) .) }}{{ end }}{{ . }}{{- end -}}
{{- define "ports" -}}
{{- range $name, $config := .ports }}
{{- if (index (default dict $config.expose) $.serviceName) }}
- port: {{ default $config.port $config.exposedPort }}
  name: {{ $name | quote }}
  targetPort: {{ default $name $config.targetPort }}
  protocol: {{ default "TCP" $config.protocol }}
{{- if ($config.http3).enabled }}
- port: {{ default $config.exposedPort $config.http3.advertisedPort }}
  name: "{{ $name }}-http3"
  protocol: UDP
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- define "partials.resources" -}}
{{- $ephemeral := index . "ephemeral-storage" -}}
resources:
  {{- if or (.cpu).limit (.memory).limit ($ephemeral).limit }}
  limits:
    {{- with (.cpu).limit }}
    cpu: {{. | quote}}
    {{- end }}
    {{- with (.memory).limit }}
    memory: {{. | quote}}
    {{- end }}
  {{- end }}
  {{- if or (.cpu).request (.memory).request }}
  requests: {{ with (.cpu).request }}
    cpu: {{. | quote}}{{ end }}{{ with (.memory).request }}
    memory: {{. | quote}}{{ end }}
  {{- end }}
{{- end }}
