{{- define "fabric.chart" -}}{{- printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" -}}{{- end }}
{{/* the whole name of an image, or what is put in its place */}}
{{- define "fabric.image" -}}
{{- $digest := (.useDigest | default false) | ternary (printf "@%s" .digest) "" -}}
{{- if .override -}}
{{- printf "%s" .override -}}
{{- else -}}
{{- printf "%s:%s%s" .repository .tag $digest -}}
{{- end -}}
{{- end -}}
{{- define "operator.cloud" -}}
{{- $cloud := "generic" -}}
{{- if .Values.eni.enabled -}}{{- $cloud = "aws" -}}{{- else if .Values.azure.enabled -}}{{- $cloud = "azure" -}}{{- end -}}
{{- $cloud -}}
{{- end -}}
{{- define "operator.imageDigestName" -}}
{{- $imageDigest := (.Values.operator.image.useDigest | default false) | ternary (printf "@%s" .Values.operator.image.genericDigest) "" -}}
{{- if .Values.eni.enabled -}}
{{- $imageDigest = (.Values.operator.image.useDigest | default false) | ternary (printf "@%s" .Values.operator.image.awsDigest) "" -}}
{{- end -}}
{{- $imageDigest -}}
{{- end -}}
{{- define "podDisruptionBudget.apiVersion" -}}
{{- if semverCompare ">=1.21-0, <1.26-0" .Capabilities.KubeVersion.Version -}}{{- print "policy/v1beta1" -}}{{- else -}}{{- print "policy/v1" -}}{{- end -}}
{{- end -}}
{{- define "ca.setup" -}}
  {{- if not .commonCA -}}
    {{- $ca := "" -}}
    {{- $secretName := "fabric-ca" -}}
    {{- $crt := .Values.tls.ca.cert -}}
    {{- $key := .Values.tls.ca.key -}}
    {{- if and $crt $key }}
      {{- $ca = buildCustomCert $crt $key -}}
    {{- else }}
      {{- with lookup "v1" "Secret" .Release.Namespace $secretName }}
        {{- $crt := index .data "ca.crt" }}
        {{- $key := index .data "ca.key" }}
        {{- $ca = buildCustomCert $crt $key -}}
      {{- else }}
        {{- $validity := ( .Values.tls.ca.certValidityDuration | int) -}}
        {{- $ca = genCA "Fabric CA" $validity -}}
      {{- end }}
    {{- end -}}
    {{- $_ := set (set . "commonCA" $ca) "secretName" $secretName -}}
  {{- end -}}
{{- end -}}
{{- define "hubble-generate-certs.helm.setup-ca" -}}{{ include "ca.setup" . }}{{- $_ := set . "ca" .commonCA }}{{- $_ := set . "caSecretName" .secretName }}{{- end -}}
{{- define "hubble-generate-certs.helm.server.crt" -}}
{{- $cn := list "*" (.Values.cluster.name | replace "." "-") "hubble-grpc.fabric.io" | join "." }}
{{- $ip := .Values.hubble.tls.server.extraIpAddresses }}
{{- $dns := prepend .Values.hubble.tls.server.extraDnsNames $cn }}
{{- genSignedCert $cn $ip $dns (.Values.hubble.tls.auto.certValidityDuration | int) .ca | toJson }}
{{- end -}}
{{- define "validateDuration" }}
{{- $value := . }}
{{- if not $value }}
  {{- fail (printf "duration may not be empty: %v" $value) }}
{{- end }}
{{- if not (regexMatch "^([0-9]+(\\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$" $value) }}
  {{- fail (printf "not a duration: %q" $value) }}
{{- end }}
{{- $value }}
{{- end }}
{{- define "envoyDaemonSetEnabled" }}
  {{- if not .Values.envoy.enabled }}{{- if (eq (toString .Values.envoy.enabled) "<nil>") }}{{- if semverCompare ">=1.16" (default "1.16" .Values.upgradeCompatibility) }}{{- true }}{{- else }}{{- false }}{{- end }}{{- else }}{{- false }}{{- end }}{{- else }}{{- true }}{{- end }}
{{- end }}
{{- define "commonLabels" -}}
{{ with .Values.commonLabels }}{{- toYaml . }}{{- end }}
{{- end -}}
