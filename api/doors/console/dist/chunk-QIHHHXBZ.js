import{n as o}from"./chunk-C5HNBLJF.js";var n=o(null),p=o(null);export{n as a,p as b};
