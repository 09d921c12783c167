#!/bin/sh
	echo tab  

