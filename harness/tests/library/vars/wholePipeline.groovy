def call(Map config) {
  pipeline {
    agent none
    stages { stage('from the library') { steps { echo "whole pipeline ${config.name}" } } }
  }
}
