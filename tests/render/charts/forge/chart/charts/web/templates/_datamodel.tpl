{{- define "web.datamodel.prepare" -}}
{{- if not $.Values.local -}}
{{-   include "web.datamodel.blank" $ -}}
{{-   $_ := set $.Values.local.blank.hpa "memory" nil -}}
{{-   $_ := set $ "deployments" (dict) -}}
{{-   $fullname := include "fullname" $ -}}
{{-   range $deployment, $values := $.Values.deployments -}}
{{-     $filledValues := merge $values (deepCopy $.Values.local.blank) -}}
{{-     $_ := set $filledValues "name" (ternary $deployment "" (ne $deployment "default")) -}}
{{-     $_ := set $filledValues "fullname" (ternary (printf "%s-%s" $fullname $deployment) $fullname (ne $deployment "default")) -}}
{{-     $_ := set $filledValues.ingress "path" ($filledValues.ingress.path | default (coalesce $.Values.global.ingress.path "/")) -}}
{{-     $_ := set $.deployments $deployment $filledValues -}}
{{-   end -}}
{{-   if eq (len $.deployments) 0 -}}
{{-     $_ := set $.deployments "default" (merge (dict "name" "" "fullname" $fullname) (deepCopy $.Values.local.blank)) -}}
{{-     $_ := set (index $.deployments "default" "ingress") "path" "/" -}}
{{-   end -}}
{{-   $checks := list -}}
{{-   $hasBasePath := dict "v" false -}}
{{-   range $.deployments -}}
{{-     if .ingress.path -}}{{- $_ := set $hasBasePath "v" (or $hasBasePath.v (eq "/" (get .ingress "path"))) -}}{{- end -}}
{{-   end -}}
{{-   if and $.Values.ingress.requireBasePath (not $hasBasePath.v) -}}
{{-     fail "FATAL: no deployment has ingress.path '/'" -}}
{{-   end -}}
{{- end -}}
{{- end -}}
{{- define "web.datamodel.blank" -}}
{{- $_ := set $.Values "local" (dict) -}}
{{- $_ := set $.Values.local "blank" (dict) -}}
{{- $_ := set $.Values.local.blank "ingress" (pick $.Values.ingress "path" "annotations" "proxyBodySize") -}}
{{- $_ := set $.Values.local.blank.ingress "path" nil -}}
{{- $_ := set $.Values.local.blank "deployment" (deepCopy $.Values.deployment) -}}
{{- $_ := set $.Values.local.blank "hpa" (deepCopy $.Values.hpa) -}}
{{- $_ := set $.Values.local.blank "sharedTmpDir" $.Values.sharedTmpDir -}}
{{- end -}}
{{- define "fullname" -}}web-says-{{ .Release.Name }}{{- end -}}
