{{- define "kit.render.controllers" -}}
  {{- $root := . -}}
  {{- $enabled := include "kit.enabled" (dict "resources" .Values.controllers "kind" "controller") | fromYaml -}}
  {{- range $identifier, $controller := $enabled -}}
    {{- $controllerObject := mustDeepCopy $controller | merge (dict "identifier" $identifier) -}}
    {{- $_ := set $controllerObject "name" (include "kit.resource.name" (dict "root" $root "resource" $controllerObject "identifier" $identifier "all" $enabled)) -}}
    {{- include "kit.controller.validate" (dict "rootContext" $root "object" $controllerObject) -}}
    {{- include "kit.class.controller" (dict "rootContext" $root "object" $controllerObject) | nindent 0 -}}
  {{- end -}}
{{- end -}}
{{- define "kit.controller.validate" -}}
  {{- $allowed := list "deployment" "daemonset" "statefulset" "cronjob" "job" -}}
  {{- with .object -}}
    {{- $type := .type | default "deployment" -}}
    {{- if not (has $type $allowed) -}}
      {{- fail (printf "Not a valid controller.type (%s); expected one of %s" $type (join ", " $allowed)) -}}
    {{- end -}}
    {{- if and (eq $type "cronjob") (not (dig "cronjob" "schedule" "" .)) -}}
      {{- fail (printf "Schedule is required for controller of type cronjob (controller: %s)" .identifier) -}}
    {{- end -}}
    {{- if and .strategy (not (has .strategy (list "Recreate" "RollingUpdate" "OnDelete"))) -}}
      {{- fail (printf "Not a valid strategy type. (controller: %s, strategy: %s)" .identifier .strategy) -}}
    {{- end -}}
    {{- if empty .containers -}}
      {{- fail (printf "No containers enabled for controller (%s)" .identifier) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- define "kit.class.controller" -}}
{{- $root := .rootContext -}}
{{- $object := .object -}}
{{- $type := $object.type | default "deployment" -}}
{{- $kinds := dict "deployment" "Deployment" "daemonset" "DaemonSet" "statefulset" "StatefulSet" "cronjob" "CronJob" "job" "Job" -}}
{{- $labels := mustMerge (dict "app.kubernetes.io/component" $object.identifier) (include "kit.metadata.allLabels" $root | fromYaml) -}}
---
apiVersion: {{ ternary "batch/v1" "apps/v1" (hasSuffix "job" $type) }}
kind: {{ get $kinds $type }}
metadata:
  name: {{ $object.name }}
  namespace: {{ $root.Release.Namespace }}
  {{- with $labels }}
  labels:
    {{- range $key, $value := . }}
    {{- printf "%s: %s" $key (tpl (toString $value) $root | toYaml ) | nindent 4 }}
    {{- end }}
  {{- end }}
  {{- with merge ($object.annotations | default dict) (($root.Values.global).annotations | default dict) }}
  annotations:
    {{- tpl (toYaml .) $root | nindent 4 }}
  {{- end }}
spec:
  {{- if eq $type "cronjob" }}
  schedule: {{ $object.cronjob.schedule | quote }}
  concurrencyPolicy: {{ default "Forbid" $object.cronjob.concurrencyPolicy }}
  {{- with $object.cronjob.timeZone }}
  timeZone: {{ . }}
  {{- end }}
  successfulJobsHistoryLimit: {{ include "kit.int" (dict "value" $object.cronjob.successfulJobsHistory "default" 1) }}
  jobTemplate:
    spec:
      template: {{ include "kit.pod" (dict "rootContext" $root "object" $object "labels" $labels) | nindent 8 }}
  {{- else }}
  {{- if not (hasSuffix "job" $type) }}
  revisionHistoryLimit: {{ include "kit.int" (dict "value" $object.revisionHistoryLimit "default" 3) }}
  {{- if and (ne $type "daemonset") (not (kindIs "invalid" $object.replicas)) (ne (toString $object.replicas) "<nil>") }}
  replicas: {{ $object.replicas | int }}
  {{- end }}
  selector:
    matchLabels:
      app.kubernetes.io/component: {{ $object.identifier }}
      {{- include "kit.metadata.selectorLabels" $root | nindent 6 }}
  {{- end }}
  template: {{ include "kit.pod" (dict "rootContext" $root "object" $object "labels" $labels) | nindent 4 }}
  {{- end }}
{{- end -}}
{{- define "kit.int" -}}
{{- if kindIs "invalid" .value -}}{{ .default }}{{- else -}}{{ .value | int64 }}{{- end -}}
{{- end -}}
{{- define "kit.pod.option" -}}
  {{- $defaults := deepCopy (.root.Values.defaultPodOptions | default dict) -}}
  {{- $strategy := .root.Values.defaultPodOptionsStrategy -}}
  {{- $own := .object.pod | default dict -}}
  {{- $value := get $defaults .option -}}
  {{- if hasKey $own .option -}}
    {{- $other := get $own .option -}}
    {{- if and (eq $strategy "merge") (kindIs "map" $value) (kindIs "map" $other) -}}
      {{- $value = mustMergeOverwrite $value $other -}}
    {{- else if and (eq $strategy "merge") (kindIs "slice" $value) (kindIs "slice" $other) -}}
      {{- $value = concat $value $other -}}
    {{- else -}}
      {{- $value = $other -}}
    {{- end -}}
  {{- end -}}
  {{- dict "value" $value | toJson -}}
{{- end -}}
{{- define "kit.pod" -}}
{{- $root := .rootContext -}}{{- $object := .object -}}
metadata:
  annotations:
    checksum/config: {{ dict "c" $root.Values.configMaps "s" $root.Values.secrets | toJson | sha256sum }}
  labels: {{- .labels | toYaml | nindent 4 }}
spec:
  {{- range $option := list "affinity" "automountServiceAccountToken" "enableServiceLinks" "hostNetwork" "securityContext" "tolerations" }}
  {{- $value := (include "kit.pod.option" (dict "root" $root "object" $object "option" $option) | fromJson).value }}
  {{- if or (kindIs "bool" $value) (not (empty $value)) }}
  {{ $option }}: {{ if or (kindIs "map" $value) (kindIs "slice" $value) }}{{ toYaml $value | nindent 4 }}{{ else }}{{ toYaml $value }}{{ end }}
  {{- end }}
  {{- end }}
  {{- $order := list }}
  {{- range $name, $container := $object.containers }}
    {{- if ne (toString ((get $container "enabled"))) "false" }}
    {{- $order = append $order (dict "name" $name "order" (printf "%05d" (default 99 $container.order | int)) "dependsOn" (kindIs "string" $container.dependsOn | ternary (list $container.dependsOn) ($container.dependsOn | default list))) }}
    {{- end }}
  {{- end }}
  {{- $sorted := list }}
  {{- range $key := include "kit.sortkeys" $order | fromYamlArray }}{{ $sorted = append $sorted (dict "name" (splitList "|" $key | last)) }}{{ end }}
  containers:
  {{- range $entry := $sorted }}
  {{- $container := get $object.containers $entry.name }}
  {{- $image := $container.image | default dict }}
  - name: {{ $entry.name }}
    image: {{ printf "%s:%s%s" (required (printf "No image repository specified for container. (controller: %s, container: %s)" $object.identifier $entry.name) $image.repository) (toString $image.tag) (ternary (printf "@%s" $image.digest) "" (ne nil $image.digest)) | quote }}
    {{- with $container.command }}
    command: {{ if kindIs "string" . }}[{{ tpl . $root | quote }}]{{ else }}{{ range . }}
    - {{ tpl (toString .) $root | quote }}{{ end }}{{ end }}
    {{- end }}
    {{- with $container.env }}
    env:
    {{- if kindIs "map" . }}
    {{- range $k, $v := . }}
    - name: {{ $k }}
      {{- if kindIs "map" $v }}
      {{- if hasKey $v "value" }}
      value: {{ tpl (toString $v.value) $root | quote }}
      {{- else }}
      valueFrom: {{- tpl (toYaml (omit $v "order")) $root | nindent 8 }}
      {{- end }}
      {{- else if kindIs "float64" $v }}
      value: {{ $v | int | quote }}
      {{- else }}
      value: {{ tpl (toString $v) $root | quote }}
      {{- end }}
    {{- end }}
    {{- else }}
    {{- tpl (toYaml .) $root | nindent 4 }}
    {{- end }}
    {{- end }}
    {{- with $container.resources }}
    resources: {{ toYaml . | nindent 6 }}
    {{- end }}
    {{- range $probe := list "liveness" "readiness" "startup" }}
    {{- $spec := dig "probes" $probe dict $container }}
    {{- if $spec.enabled }}
    {{ $probe }}Probe:
      {{- if $spec.custom }}
      {{- toYaml $spec.spec | nindent 6 }}
      {{- else }}
      {{- $port := dig "port" nil $spec | default (include "kit.primaryPort" $root) }}
      {{ if eq (default "TCP" $spec.type) "TCP" }}tcpSocket{{ else }}httpGet{{ end }}:
        port: {{ $port }}
        {{- if has $spec.type (list "HTTP" "HTTPS") }}
        path: {{ $spec.path | default "/" }}
        scheme: {{ $spec.type }}
        {{- end }}
      {{- with $spec.spec }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
      {{- end }}
    {{- end }}
    {{- end }}
  {{- end }}
{{- end -}}
{{- define "kit.sortkeys" -}}
{{- $keys := list -}}{{- range . -}}{{- $keys = append $keys (printf "%s|%s" .order .name) -}}{{- end -}}
{{- sortAlpha $keys | toYaml -}}
{{- end -}}
{{- define "kit.primaryPort" -}}
  {{- $found := "" -}}
  {{- range $name, $service := .Values.service -}}
    {{- range $port, $spec := $service.ports -}}
      {{- if and (not $found) (or $spec.primary (eq (len $service.ports) 1)) -}}{{- $found = $spec.targetPort | default $spec.port -}}{{- end -}}
    {{- end -}}
  {{- end -}}
  {{- $found | default 80 -}}
{{- end -}}
