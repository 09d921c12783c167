{{- define "kit.render.serviceAccount" -}}
  {{- if (.Values.serviceAccount).create }}
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ .Values.serviceAccount.name | default (include "kit.names.fullname" .) }}
{{- with .Values.serviceAccount.annotations }}
  annotations: {{ toYaml . | nindent 4 }}
{{- end }}
{{- end }}
{{- end -}}
{{- define "kit.render.service" -}}
  {{- $root := . -}}
  {{- $enabled := include "kit.enabled" (dict "resources" .Values.service "kind" "service") | fromYaml -}}
  {{- range $identifier, $service := $enabled }}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ include "kit.resource.name" (dict "root" $root "resource" $service "identifier" $identifier "all" $enabled) }}
spec:
  type: {{ $service.type | default "ClusterIP" }}
  {{- if and (eq $service.type "LoadBalancer") (semverCompare ">=1.24-0" $root.Capabilities.KubeVersion.GitVersion) }}
  allocateLoadBalancerNodePorts: {{ dig "allocate" true $service }}
  {{- end }}
  ports:
  {{- range $name, $port := $service.ports | required (printf "No ports enabled for Service (%s)" $identifier) }}
  - name: {{ $name }}
    port: {{ $port.port }}
    targetPort: {{ $port.targetPort | default $name }}
    protocol: {{ if has ($port.protocol | default "TCP" | upper) (list "HTTP" "HTTPS" "TCP") }}TCP{{ else }}{{ $port.protocol | upper }}{{ end }}
    {{- if not (empty $port.nodePort) }}
    nodePort: {{ $port.nodePort }}
    {{- end }}
  {{- end }}
  selector: {{- include "kit.metadata.selectorLabels" $root | nindent 4 }}
{{- end }}
{{- end -}}
{{- define "kit.render.ingress" -}}
  {{- $root := . -}}
  {{- range $identifier, $ingress := include "kit.enabled" (dict "resources" .Values.ingress "kind" "ingress") | fromYaml }}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {{ $identifier }}
  annotations: {{ range $k, $v := $ingress.annotations }}
    {{ tpl $k $root }}: {{ tpl $v $root | quote }}{{ else }}{}{{ end }}
spec:
  {{- if $ingress.tls }}
  tls:
  {{- range $ingress.tls }}
  - hosts: {{ range .hosts }}
    - {{ tpl . $root | quote }}{{ end }}
    {{- with tpl (default "" .secretName) $root }}
    secretName: {{ . }}
    {{- end }}
  {{- end }}
  {{- end }}
  rules:
  {{- range $host := $ingress.hosts }}
  - host: {{ tpl $host.host $root | quote }}
    http:
      paths:
      {{- range $path := $host.paths }}
      {{- $service := $path.service | default dict }}
      - path: {{ tpl $path.path $root | quote }}
        pathType: {{ default "Prefix" $path.pathType }}
        backend:
          service:
            name: {{ $service.name | default (printf "%s%s" (include "kit.names.fullname" $root) (ternary "" (printf "-%s" (toString $service.identifier)) (empty $service.identifier))) }}
            port: {number: {{ $service.port | default (include "kit.primaryPort" $root) }}}
      {{- end }}
  {{- end }}
{{- end }}
{{- end -}}
{{- define "kit.render.configMaps" -}}
  {{- $root := . -}}
  {{- range $identifier, $map := .Values.configMaps }}
  {{- if dig "enabled" true $map }}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "kit.names.fullname" $root }}-{{ $identifier | kebabcase }}
data:
  {{- tpl (toYaml $map.data) $root | nindent 2 }}
  {{- end }}
  {{- end }}
{{- end -}}
{{- define "kit.render.secrets" -}}
  {{- $root := . -}}
  {{- range $identifier, $secret := .Values.secrets }}
---
apiVersion: v1
kind: Secret
type: {{ $secret.type | default "Opaque" }}
metadata: {name: {{ include "kit.names.fullname" $root }}-{{ $identifier }}}
{{- with $secret.stringData }}
stringData: {{- tpl (toYaml .) $root | nindent 2 }}
{{- end }}
  {{- end }}
{{- end -}}
{{- define "kit.render.persistence" -}}
  {{- range $identifier, $claim := include "kit.enabled" (dict "resources" .Values.persistence "kind" "persistence") | fromYaml -}}
  {{- if eq (default "persistentVolumeClaim" $claim.type) "persistentVolumeClaim" }}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: {{ $identifier }}
  {{- if $claim.retain }}
  annotations: {"helm.sh/resource-policy": keep}
  {{- end }}
spec:
  accessModes: [{{ required (printf "accessMode is required for PVC %v" $identifier) $claim.accessMode | quote }}]
  resources: {requests: {storage: {{ required (printf "size is required for PVC %v" $identifier) $claim.size | quote }}}}
  {{- if $claim.storageClass }}
  storageClassName: {{ if (eq "-" $claim.storageClass) }}""{{ else }}{{ $claim.storageClass | quote }}{{ end }}
  {{- end }}
  {{- end }}
  {{- end }}
{{- end -}}
{{- define "kit.render.rawResources" -}}
  {{- $root := . -}}
  {{- range $identifier, $raw := .Values.rawResources }}
---
apiVersion: {{ $raw.apiVersion }}
kind: {{ $raw.kind }}
metadata:
  name: {{ tpl ($raw.name | default $identifier) $root }}
{{ with $raw.spec }}{{ tpl (. | toYaml) $root }}{{ end }}
  {{- end }}
{{- end -}}
