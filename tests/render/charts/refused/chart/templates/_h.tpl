{{ define "inner" }}{{ fail (printf "no %s\nreally" .) }}{{ end }}{{ define "outer" }}
  {{ include "inner" . }}{{ end }}{{ define "bare" }}{{ .x.y.z }}{{ end }}