{{/* A cluster role, for each of the namespaces given. */}}
{{- define "kit.monitoring" }}
---
kind: Role
apiVersion: rbac.authorization.k8s.io/v1
metadata:
  name: monitor
  namespace: {{ .Release.Namespace }} # namespace:cluster
rules: []
{{- end }}
{{- define "kit.suffix-cluster-namespace" -}}
{{/* The operator's own namespace comes first. */}}
{{- $operatorNamespace := .Values.operatorNamespace | default "ceph" -}}
{{- $clusterNamespace := .Release.Namespace -}}
{{- if ne $clusterNamespace $operatorNamespace -}}
{{ printf "-%s" $clusterNamespace }}
{{- end }}
{{- end }}
{{- define "kit.imagePullSecrets" -}}
{{- if .Values.imagePullSecrets }}
imagePullSecrets:
{{ toYaml .Values.imagePullSecrets }}
{{- end }}
{{- end }}
{{- define "kit.fullimage" -}}
{{- $image := .image -}}
{{- $version := coalesce (($image).version) (.root.Chart.AppVersion) | toString -}}
{{- if hasPrefix "sha256:" $version -}}
{{ $image.repository }}/{{ $image.image }}@{{ $version }}
{{- else -}}
{{ printf "%s/%s:%s" $image.repository $image.image $version }}{{ with $image.suffix }}-{{ . }}{{ end }}
{{- end -}}
{{- end }}
