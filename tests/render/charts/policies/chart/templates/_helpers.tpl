{{- define "policies.features.flags" -}}
{{- $flags := list -}}
{{- with .admissionReports -}}
  {{- $flags = append $flags (print "--admissionReports=" .enabled) -}}
  {{- with .backPressureThreshold -}}
    {{- $flags = append $flags (print "--maxAdmissionReports=" .) -}}
  {{- end -}}
{{- end -}}
{{- with .autoUpdateWebhooks -}}{{- $flags = append $flags (print "--autoUpdateWebhooks=" .enabled) -}}{{- end -}}
{{- with .backgroundScan -}}
  {{- $flags = append $flags (print "--backgroundScan=" .enabled) -}}
  {{- $flags = append $flags (print "--backgroundScanWorkers=" .backgroundScanWorkers) -}}
  {{- $flags = append $flags (print "--backgroundScanInterval=" .backgroundScanInterval) -}}
  {{- $flags = append $flags (print "--skipResourceFilters=" .skipResourceFilters) -}}
{{- end -}}
{{- with .dumpPatches -}}{{- $flags = append $flags (print "--dumpPatches=" .enabled) -}}{{- end -}}
{{- with .omitEvents -}}
  {{- with .eventTypes -}}{{- $flags = append $flags (print "--omitEvents=" (join "," .)) -}}{{- end -}}
{{- end -}}
{{- with .logging -}}
  {{- $flags = append $flags (print "--loggingFormat=" .format) -}}
  {{- $flags = append $flags (print "--v=" (join "," .verbosity)) -}}
{{- end -}}
{{- with .registryClient -}}
  {{- $flags = append $flags (print "--allowInsecureRegistry=" .allowInsecure) -}}
  {{- $flags = append $flags (print "--registryCredentialHelpers=" (join "," .credentialHelpers)) -}}
{{- end -}}
{{- with $flags -}}{{- toYaml . -}}{{- end -}}
{{- end -}}
{{- define "policies.image" -}}
{{- $tag := default .defaultTag .image.tag -}}
{{- if not (typeIs "string" $tag) -}}{{ fail "Image tags must be strings." }}{{- end -}}
{{- $imageRegistry := default (default .image.defaultRegistry .globalRegistry) .image.registry -}}
{{- if $imageRegistry -}}{{ print $imageRegistry "/" (required "An image repository is required" .image.repository) ":" $tag }}
{{- else -}}{{ print (required "An image repository is required" .image.repository) ":" $tag }}{{- end -}}
{{- end -}}
{{- define "policies.resourceFilters" -}}
{{- $filters := .Values.config.resourceFilters -}}
{{- $exclude := .Values.config.resourceFiltersExclude -}}
{{- range .Values.config.resourceFiltersExcludeNamespaces }}{{ $exclude = append $exclude (printf "[*/*,%s,*]" .) }}{{ end -}}
{{- $kept := list -}}
{{- range $filter := $filters }}{{- if not (has $filter $exclude) }}{{ $kept = append $kept $filter }}{{ end }}{{ end -}}
{{- $kept = concat $kept .Values.config.resourceFiltersInclude -}}
{{- range .Values.config.resourceFiltersIncludeNamespaces }}{{ $kept = append $kept (printf "[*/*,%s,*]" .) }}{{ end -}}
{{- tpl (join "" $kept) . | trimSuffix "\n" -}}
{{- end -}}
{{- define "policies.pdb" -}}
{{- if and .minAvailable .maxUnavailable -}}{{- fail "Cannot set both .minAvailable and .maxUnavailable" -}}
{{- else if and (not .minAvailable) (not .maxUnavailable) }}minAvailable: 1{{- end }}
{{- with .minAvailable }}minAvailable: {{ . }}{{ end }}
{{- with .maxUnavailable }}
maxUnavailable: {{ . }}
{{- end }}
{{- end -}}
{{- define "policies.replicas" -}}
{{- if and (not (kindIs "invalid" .)) (not (kindIs "string" .)) -}}
  {{- if eq (int .) 0 -}}{{- fail "zero replicas are not supported, please use the fail-open way" -}}{{- end -}}
  {{- . -}}
{{- end -}}
{{- end -}}
{{/* Metrics: maps in lists in maps, printed as JSON that is text in YAML. */}}
{{- define "policies.json" -}}{{ toJson . }}{{- end -}}
