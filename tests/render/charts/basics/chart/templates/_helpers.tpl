{{/* vim: set filetype=mustache: */}}
{{- define "ledger.image" -}}
{{ include "basics.images.image" (dict "imageRoot" .Values.image "global" .Values.global "chart" .Chart) }}
{{- end -}}
{{- define "ledger.port" -}}
{{- if ((((.Values.global).ledger).service).ports).sql -}}
    {{- .Values.global.ledger.service.ports.sql -}}
{{- else -}}
    {{- .Values.primary.service.ports.sql -}}
{{- end -}}
{{- end -}}
{{- define "ledger.readReplicas" -}}
{{- ternary "2" "0" (eq .Values.architecture "replication") | int -}}
{{- end -}}
{{- define "ledger.validateValues" -}}
{{- $messages := list -}}
{{- $messages = append $messages (include "ledger.validateValues.ldap" .) -}}
{{- $messages = append $messages (include "ledger.validateValues.psp" .) -}}
{{- $messages = without $messages "" -}}
{{- $message := join "\n" $messages -}}
{{- if $message -}}
{{- printf "\nVALUES VALIDATION:\n%s" $message | fail -}}
{{- end -}}
{{- end -}}
{{- define "ledger.validateValues.ldap" -}}
{{- if and .Values.ldap.enabled (and (empty .Values.ldap.uri) (empty .Values.ldap.basedn)) -}}
ledger: ldap.uri, ldap.basedn
    You must provide one of them with LDAP
{{- end -}}
{{- end -}}
{{- define "ledger.validateValues.psp" -}}
{{- if and .Values.psp.create (not .Values.rbac.create) -}}
ledger: psp.create, rbac.create
    RBAC should be enabled if PSP is enabled
{{- end -}}
{{- end -}}
{{- define "ledger.v1.probe" -}}
{{- if .custom }}
{{- include "basics.tplvalues.render" (dict "value" .custom "context" .context) }}
{{- else if .probe.enabled }}
{{- include "basics.tplvalues.render" (dict "value" (omit .probe "enabled") "context" .context) }}
exec:
  command:
    - /bin/sh
    - -c
    {{- if (.context.Values.auth.database) }}
    - exec isready -U {{ default "postgres" .context.Values.auth.username | quote }} -d "dbname={{ .context.Values.auth.database }} {{- if and .context.Values.tls.enabled }} sslmode=verify-ca{{- end }}" -h 127.0.0.1 -p {{ .context.Values.containerPorts.sql }}
    {{- else }}
    - exec isready -U {{ default "postgres" .context.Values.auth.username | quote }}
    {{- end }}
{{- end }}
{{- end -}}
