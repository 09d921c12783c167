{{- define "estate.image" -}}
{{- $image := .image -}}
{{- if $image.registry -}}{{ printf "%s/%s" $image.registry $image.repository }}{{- else -}}{{- $image.repository -}}{{- end -}}
{{- if $image.digest -}}{{ printf "@%s" $image.digest }}{{- else -}}{{ printf ":%s" (default $.context.Chart.AppVersion $image.tag) }}{{- end -}}
{{- end -}}
{{- define "estate.labels" -}}
{{ include "common.labels" (dict "custom" (merge (dict "app.kubernetes.io/component" .component) .context.Values.commonLabels) "context" .context) }}
{{- end -}}
{{- define "estate.notification-addr" -}}
http://notification-controller.$(RUNTIME_NAMESPACE).svc.{{ .Values.clusterDomain | trimSuffix "." }}./
{{- end -}}
{{- define "estate.validate" -}}
{{- $messages := list -}}
{{- $messages := append $messages (include "estate.validate.objstore" .) -}}
{{- $messages := append $messages (include "estate.validate.sharded" .) -}}
{{- $messages := append $messages (include "estate.validate.keycloak" .) -}}
{{- $messages := without $messages "" -}}
{{- $message := join "\n" $messages -}}
{{- if $message -}}{{- printf "\nVALUES VALIDATION:\n%s" $message | fail -}}{{- end -}}
{{- end -}}
{{- define "estate.validate.objstore" -}}
{{- if and (or .Values.storegateway.enabled .Values.ruler.enabled) (not .Values.objstoreConfig) (not .Values.existingObjstoreSecret) -}}
thanos: objstore
    When enabling storegateway or ruler you must provide "objstoreConfig".
{{- end -}}
{{- end -}}
{{- define "estate.validate.sharded" -}}
{{- if .Values.storegateway.sharded.enabled -}}
{{- if and (empty .Values.storegateway.sharded.hashPartitioning.shards) (not .Values.storegateway.sharded.timePartitioning) -}}
thanos: no partitioning
{{- end -}}
{{- end -}}
{{- end -}}
{{- define "estate.validate.keycloak" -}}
{{- with .Values.keycloak -}}
{{- if and .production (not .tls.enabled) (not .proxy) (not (regexMatch "^/" .httpRelativePath)) -}}
keycloak: production needs tls ({{ .httpRelativePath | quote }})
{{- end -}}
{{- end -}}
{{- end -}}
{{- define "estate.hubble.ca" }}
{{- if and .Values.tls.ca.cert .Values.tls.ca.key -}}
  {{- $ca := buildCustomCert .Values.tls.ca.cert .Values.tls.ca.key -}}{{- $_ := set . "commonCA" $ca -}}
{{- else -}}
  {{- $secret := lookup "v1" "Secret" .Release.Namespace "estate-ca" -}}
  {{- if $secret -}}{{- $_ := set . "commonCA" (buildCustomCert (index $secret.data "ca.crt") (index $secret.data "ca.key")) -}}
  {{- else -}}{{- $_ := set . "commonCA" (genCA "Estate CA" (.Values.tls.ca.certValidityDuration | int)) -}}{{- end -}}
{{- end -}}
{{- $_ := set .Values.tls "_ca" .commonCA.Cert -}}
{{- end }}
{{- define "estate.devices" -}}
{{- if kindIs "slice" .Values.devices }}{{ join " " .Values.devices }}{{ else }}{{ .Values.devices }}{{ end -}}
{{- end -}}
