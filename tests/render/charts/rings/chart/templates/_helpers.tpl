{{- define "rings.fullname" -}}{{ printf "%s-%s" .Release.Name (include "rings.infix" .) | trunc 25 | trimSuffix "-" }}{{- end -}}
{{- define "rings.infix" -}}{{- if and .Values.enterprise .Values.enterprise.enabled -}}ent{{- else -}}rings{{- end -}}{{- end -}}
{{- define "rings.port" -}}{{ (((.Values.structured | default dict).server | default dict).port | default 7946) | int }}{{- end -}}
{{- define "rings.bytes" -}}
{{- $units := dict "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "k" 1000 "M" 1000000 "G" 1000000000 -}}
{{- $value := toString .value -}}
{{- $number := regexFind "^[0-9]+(\\.[0-9]+)?" $value -}}
{{- $unit := trimPrefix $number $value -}}
{{- if not $number -}}{{ fail (printf "%q is no size" $value) }}{{- end -}}
{{- if $unit -}}
{{- if not (hasKey $units $unit) }}{{ fail (printf "unknown unit %s of %s, known are %s" $unit $value (keys $units | sortAlpha | join "|")) }}{{ end -}}
{{- mulf (float64 $number) (get $units $unit) | floor | int64 -}}
{{- else -}}{{ int64 $number }}{{- end -}}
{{- end -}}
{{- define "rings.cpu" -}}
{{- $value := toString .value -}}
{{- if hasSuffix "m" $value -}}{{ divf (float64 (trimSuffix "m" $value)) 1000.0 | ceil | int }}
{{- else -}}{{ $value | float64 | ceil | int }}{{- end -}}
{{- end -}}
{{- define "rings.calculated" -}}
{{ tpl (mergeOverwrite (include "rings.unstructured" . | fromYaml) .Values.structured | toYaml) . }}
{{- end -}}
{{- define "rings.unstructured" -}}{{ tpl .Values.config . }}{{- end -}}
{{- define "rings.sectionName" -}}
{{- .component | replace "-" "_" -}}
{{- end -}}
{{- define "rings.section" -}}
{{- $name := include "rings.sectionName" . -}}
{{- if not (hasKey .ctx.Values $name) }}{{ print "component section " $name " does not exist" | fail }}{{ end -}}
{{- index .ctx.Values $name | toYaml -}}
{{- end -}}
{{- define "rings.resource" -}}
{{- $suffix := "" -}}
{{- if .component }}{{ $suffix = printf "-%s" .component }}{{ end -}}
{{- if .zone }}{{ $suffix = printf "%s-%s" $suffix .zone }}{{ end -}}
{{- $name := printf "%s%s" (include "rings.fullname" .ctx) $suffix -}}
{{- if gt (len $name) 63 -}}{{- printf "Resource name (%s) exceeds kubernetes limit of 63 characters" $name | fail -}}{{- end -}}
{{- $name -}}
{{- end -}}
{{- define "rings.labels" -}}
app.kubernetes.io/name: {{ include "rings.infix" .ctx }}
{{- if .component }}
app.kubernetes.io/component: {{ .component }}
{{- end }}
{{- if .memberlist }}
app.kubernetes.io/part-of: memberlist
{{- end }}
{{- if .zone }}
{{- $zoneName := include "rings.resource" . }}
name: {{ trimPrefix (printf "%s-" (include "rings.fullname" .ctx)) $zoneName | quote }}
rollout-group: {{ .component }}
zone: {{ .zone }}
{{- end }}
{{- end -}}
{{/* Names of zones, each with what its workload needs, as YAML in which the names are keys. */}}
{{- define "rings.zones" -}}
{{- $zones := dict -}}
{{- $section := include "rings.section" . | fromYaml -}}
{{- $aware := $section.zoneAwareReplication -}}
{{- if $aware.enabled -}}
{{- $count := len $aware.zones -}}
{{- if lt $count 3 -}}{{- fail "When zone-awareness is enabled, you must have at least 3 zones defined." -}}{{- end -}}
{{- $requested := $section.replicas -}}
{{- if and $aware.migration $aware.migration.enabled }}{{ $requested = $aware.migration.replicas }}{{ end -}}
{{- $per := div (add $requested (sub $count 1)) $count -}}
{{- range $index, $zone := $aware.zones -}}
{{- $affinity := dict "podAntiAffinity" (dict "required" (list (dict "labelSelector" (dict "matchExpressions" (list (dict "key" "rollout-group" "operator" "In" "values" (list $.component)) (dict "key" "app.kubernetes.io/component" "operator" "NotIn" "values" (list (printf "%s-%s" $.component $zone.name))))) "topologyKey" $aware.topologyKey))) -}}
{{- if $zone.noDefaultPodAntiAffinity }}{{ $affinity = dict }}{{ end -}}
{{- $_ := set $zones $zone.name (dict
  "affinity" (($zone.extraAffinity | default dict) | mergeOverwrite $affinity)
  "nodeSelector" ($zone.nodeSelector | default $section.nodeSelector)
  "replicas" $per
  "storageClass" $zone.storageClass
  "noDownscale" (eq $index 0)
) -}}
{{- end -}}
{{- else -}}
{{- $_ := set $zones "" (dict "affinity" dict "nodeSelector" $section.nodeSelector "replicas" $section.replicas "storageClass" nil) -}}
{{- end -}}
{{- $zones | toYaml -}}
{{- end -}}
{{- define "rings.pdb" -}}
{{ with ($.ctx).Values.pdb | default "policy/v1" }}
apiVersion: {{ . }}
{{- end }}
kind: PodDisruptionBudget
metadata:
  name: {{ include "rings.resource" (dict "ctx" .ctx "component" .component) }}
  labels: {{- include "rings.labels" (dict "ctx" .ctx "component" .component) | nindent 4 }}
spec:
  selector: {matchLabels: {rollout-group: {{ .component }}}}
  maxUnavailable: {{ ((index .ctx.Values (include "rings.sectionName" .)).zoneAwareReplication).maxUnavailable | default 1 }}
{{- end -}}
{{/* Two maps made one, what a template says last; none of both is touched. */}}
{{- define "rings.args" -}}
{{- $all := merge (deepCopy (default dict .section.extraArgs)) (default dict .ctx.Values.global.extraArgs) (dict "target" .component "config.file" "/etc/rings.yaml") -}}
{{- range $key, $value := $all }}
{{- if not (kindIs "invalid" $value) }}
- -{{ $key }}={{ $value }}
{{- else }}
- -{{ $key }}
{{- end }}
{{- end }}
{{- end -}}
{{- define "rings.cache" -}}
{{- with (index $.ctx.Values.caches $.name) -}}
{{- if .enabled }}
---
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: {{ include "rings.resource" (dict "ctx" $.ctx "component" (printf "%s-cache" $.name)) }}
spec:
  template:
    spec:
      {{- if $.ctx.Values.image.optionalRegistrySecrets }}
      imagePullSecrets:
      {{- range $.ctx.Values.image.optionalRegistrySecrets }}
        - name: {{ . }}
      {{- end }}
      {{- end }}
      containers:
        - name: memcached
          args:
            - -m {{ .allocatedMemory }}
            - --extended=modern,track_sizes{{ if .extraExtendedOptions }},{{ .extraExtendedOptions }}{{ end }}
            - -I {{ .maxItemMemory }}m
            - -c {{ .connectionLimit }}
          resources: {{ if .resources }}{{ toYaml .resources | nindent 12 }}{{ else }}
            {{- $memory := printf "%dMi" (round (mulf .allocatedMemory 1.2) 0 | int) }}
            requests: {memory: {{ $memory }}, float: {{ mulf .allocatedMemory 1.2 }}, rounded: {{ round (mulf .allocatedMemory 1.2) 0 }}, int: {{ mul .allocatedMemory 1.2 }}}
            {{- end }}
{{- end }}
{{- end -}}
{{- end -}}
