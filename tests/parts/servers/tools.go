//go:build tools

package main

import _ "github.com/versity/versitygw/cmd/versitygw"
